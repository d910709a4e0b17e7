"A Learner under attack: it repeats itself, goes on after a stop, leaves nothing switched on."
import random
from pathlib import Path
import numpy as np, pytest, torch
from resvit_nb.data import fractals, image_loaders, stratified_split
from resvit_nb.checkpoints import Checkpoints, read_training
from resvit_nb.learner import choose_precision, image_learner
from resvit_nb.resnet import resnet50
from fastai.callback.core import Callback
from fastai.torch_core import set_seed
from torch import nn

@pytest.fixture(scope='module')
def data(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('RESVIT_CACHE', str(tmp_path_factory.mktemp('cache')))
        yield fractals(10, 16)

def loaders(data, augment=False):
    return image_loaders(data, 'superclass', stratified_split(data), bs=64, device='cpu', augment=augment)

class Stop(Callback):
    "Fail in the middle of the third epoch"
    def before_batch(self):
        if self.training and self.epoch == 2 and self.iter == 2: raise KeyboardInterrupt

class Broken(nn.Linear):
    def forward(self, x): raise RuntimeError('broken on purpose')

def trained(data, *cbs, freeze=False):
    "A small network after four epochs: weights, losses, the next random numbers"
    set_seed(0)
    dls = loaders(data, augment=True)
    learn = image_learner(dls, resnet50(dls.c, width=8, drop=.5), 'one-cycle', freeze=freeze)
    learn.add_cbs(cbs)
    learn.fit(4)
    losses = [(r['train_loss'], r['valid_loss']) for r in learn.epoch_log.rows]
    return learn.model.state_dict(), losses, torch.rand(1).item(), random.random(), np.random.rand()

def test_a_frozen_network_goes_on_as_if_nothing_had_happened(data, tmp_path):
    "A case of its own: its optimizer has moments for two parameters of many"
    whole = trained(data, freeze=True)
    with pytest.raises(KeyboardInterrupt): trained(data, Checkpoints(tmp_path), Stop(), freeze=True)
    resumed = trained(data, Checkpoints(tmp_path), freeze=True)
    assert resumed[1:] == whole[1:] and all(torch.equal(resumed[0][k], v) for k, v in whole[0].items())

@pytest.mark.parametrize('place', [0, 7, 100, -1])
def test_a_checkpoint_with_a_flipped_bit_is_not_read(data, tmp_path, place, capsys):
    with pytest.raises(KeyboardInterrupt): trained(data, Checkpoints(tmp_path), Stop())
    path, = Checkpoints(tmp_path).find()
    content = bytearray(path.read_bytes()); content[place] ^= 1; path.write_bytes(content)
    with pytest.raises(ValueError, match='not the file that was written'): read_training(path)
    learn = image_learner(dls := loaders(data), resnet50(dls.c, width=8))
    learn.fit(1, cbs=Checkpoints(tmp_path))
    assert f'checkpoint {path}: damaged' in capsys.readouterr().out and len(learn.epoch_log.rows) == 1

def test_a_checkpoint_of_another_network_is_passed_over(data, tmp_path, capsys):
    with pytest.raises(KeyboardInterrupt): trained(data, Checkpoints(tmp_path), Stop())
    learn = image_learner(dls := loaders(data), resnet50(dls.c, width=16))
    learn.fit(1, cbs=Checkpoints(tmp_path))
    assert 'of another network; passed over' in capsys.readouterr().out

def test_autocast_ends_where_the_model_fails(data):
    with pytest.raises(Exception, match='broken on purpose'):
        image_learner(loaders(data), Broken(1, 1), precision='bf16').fit(1)
    assert not torch.is_autocast_enabled('cpu')

@pytest.mark.parametrize('value', ['int8', 'BF16', '', None, 16])
def test_precisions_that_are_none(value):
    with pytest.raises(ValueError, match='expected one of auto, bf16, float32'): choose_precision(value)

@pytest.mark.parametrize('value', ['sgd', 'one_cycle', '', None, 1])
def test_recipes_that_are_none(data, value):
    with pytest.raises(ValueError, match='expected one of keras-default, one-cycle'):
        image_learner(loaders(data), nn.Identity(), recipe=value)

@pytest.mark.parametrize('size, expected', [(31, 'float32'), (16, 'float32')])
def test_small_images_are_computed_in_float32(size, expected): assert choose_precision('auto', image_size=size) == expected
