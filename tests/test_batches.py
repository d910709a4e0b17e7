"Loaders: what they refuse and what they leave out."
import numpy as np, pytest, torch
from resvit_nb.batches import AffineAugment, image_loaders
from resvit_nb.core import InputError
from resvit_nb.images import hierarchical_images

DATA = hierarchical_images(np.random.default_rng(0).integers(0, 256, (80, 3, 8, 8), dtype=np.uint8), np.arange(80)%2,
                           np.arange(80)%2, ['a', 'b'], ['c', 'd'], 'noise')
SPLIT = dict(train=np.arange(65), valid=np.arange(65, 70), test=np.arange(70, 80))

@pytest.mark.parametrize('bs, train', [(1, 65), (0, 65), (32, 1), (32, 0)])
def test_batches_that_batch_norm_cannot_train_on(bs, train):
    with pytest.raises(InputError, match=f'{train} training images in batches of {bs}: expected at least 2'):
        image_loaders(DATA, 'superclass', {**SPLIT, 'train': SPLIT['train'][:train]}, bs=bs)

@pytest.mark.parametrize('bs, sizes', [(32, [32, 32]), (64, [64]), (30, [30, 30, 5]), (128, [65])])
def test_a_last_batch_of_one_is_left_out(bs, sizes):
    assert [len(y) for x, y in image_loaders(DATA, 'superclass', SPLIT, bs=bs, device='cpu').train] == sizes

def test_valid_and_test_are_in_order_and_never_warped():
    torch.manual_seed(0)
    dls = image_loaders(DATA, 'subclass', SPLIT, device='cpu', augment=True)
    plain = image_loaders(DATA, 'subclass', SPLIT, device='cpu')
    assert any(isinstance(f, AffineAugment) for f in dls.train.after_batch.fs)
    for part, dl, as_they_are in (('valid', dls[1], plain[1]), ('test', dls[2], plain[2])):
        assert torch.equal(torch.cat([x for x, y in dl]), torch.cat([x for x, y in as_they_are]))
        assert torch.cat([y for x, y in dl]).tolist() == DATA.subclass[SPLIT[part]].tolist()
