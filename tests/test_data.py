"The real images, where RESVIT_TEST_DATA names a folder that has them."
import os
from pathlib import Path
import numpy as np, pytest
from resvit_nb.images import COPIES_FILE, TARGETS, as_trained, find_copies, find_split, known_copies
from resvit_nb.course import bird_dog_reptile
from resvit_nb.sources import cifar100
from resvit_nb.records import read_record

REAL = Path(os.environ.get('RESVIT_TEST_DATA', 'nowhere'))
RESULTS = Path(__file__).parent.parent/'results'

@pytest.mark.skipif(not (REAL/'cifar100_train.tar').is_file(), reason='no CIFAR-100 here')
def test_cifar100_at_the_sizes_of_the_paper(decoded):
    data = cifar100(REAL/'cifar100_train.tar', 32)
    split = find_split('paper-sizes')(data)
    assert [len(split[part]) for part in ('train', 'test')] == [6323, 12733]
    assert [len(data.names(t)) for t in TARGETS] == [20, 100] and np.bincount(data.parent).tolist() == [5]*20
    for part in split.values(): assert np.ptp(np.bincount(data.subclass[part])) <= 1
    assert len(np.unique(np.concatenate(list(split.values())))) == sum(map(len, split.values()))

# of the archive, and of torchvision's files
FINGERPRINT = 'a3ce604032f7ded02a121f9c3230e722d560da99929f9572b4c8fc76ad64de3e'

@pytest.mark.skipif(not (REAL/'cifar100_train.tar').is_file(), reason='no CIFAR-100 here')
def test_fingerprint_of_the_archive(decoded):
    assert cifar100(REAL/'cifar100_train.tar', 32).fingerprint == FINGERPRINT

def correlation(a, b):
    "Of the pixels of two images"
    return np.corrcoef(a.ravel().astype(float), b.ravel().astype(float))[0, 1]

@pytest.mark.skipif(not (REAL/'cifar100_train.tar').is_file(), reason='no CIFAR-100 here')
def test_the_stored_copies_are_those_of_the_archive(decoded):
    data = cifar100(REAL/'cifar100_train.tar', 32)
    assert COPIES_FILE.read_text('utf-8').splitlines()[:2] == [f'# {data.fingerprint}',
                                                               'first,second,correlation,flipped']
    pairs = known_copies(data)
    assert pairs == sorted(pairs) and len({p[:2] for p in pairs}) == len(pairs)
    for i, j, stored, flipped in pairs[::50]:
        assert 0 <= i < j < len(data) and stored >= .95
        assert abs(correlation(data.images[i], data.images[j][:, :, ::-1] if flipped else data.images[j])-stored) < 2e-4
    some = np.unique([p[:2] for p in pairs[:200]])
    found = {p[:2] for p in find_copies(data.images[some])}
    where = {n: k for k, n in enumerate(some)}
    assert found == {(where[i], where[j]) for i, j, *_ in pairs if i in where and j in where}

@pytest.mark.skipif(not (REAL/'cifar100_train.tar').is_file(), reason='no CIFAR-100 here')
@pytest.mark.parametrize('swap', ['', '-swap'])
def test_no_test_image_is_a_copy_of_a_training_image(swap):
    data = cifar100(REAL/'cifar100_train.tar', 32)
    whole, unique = find_split(f'paper-sizes{swap}')(data, 3), find_split(f'paper-sizes-unique{swap}')(data, 3)
    assert all(np.array_equal(whole[part], unique[part]) for part in ('train', 'valid'))
    train, dropped = set(whole['train']), set(whole['test'])-set(unique['test'])
    partners = {}
    for i, j, *_ in known_copies(data):
        partners.setdefault(i, set()).add(j); partners.setdefault(j, set()).add(i)
    assert dropped and set(unique['test']) < set(whole['test'])
    assert dropped == {i for i in whole['test'] if partners.get(i, set()) & train}

@pytest.mark.skipif(not (REAL/'bird_dog_reptile').is_dir(), reason="no images of the course here")
def test_the_published_records_are_of_these_images(decoded):
    data = bird_dog_reptile(REAL/'bird_dog_reptile', 32)
    records = [read_record(p) for p in RESULTS.glob('bird_dog_reptile-*.json')]
    assert records and {r.data['fingerprint'] for r in records} == {data.fingerprint}
    for r in records:
        split = find_split(r.config.split)(data, r.config.split_seed)
        assert np.array_equal(r.images['index'], split['test'])
        assert np.array_equal(r.images['label'], as_trained(data, split).labels(r.config.target)[r.images['index']])
