"The real images, where RESVIT_TEST_DATA names a folder that has them."
import hashlib, os, pickle
from pathlib import Path
from unittest.mock import patch
import numpy as np, pytest
from PIL import Image
from torchvision.datasets import CIFAR100
from resvit_nb.data import (
    COPIES_FILE, InputError, PAPER_SIZES, TARGETS, bird_dog_reptile, cifar100, find_copies, find_split, hierarchical_images, known_copies)
from resvit_nb.runs import read_record

REAL = Path(os.environ.get('RESVIT_TEST_DATA', 'nowhere'))
RESULTS = Path(__file__).parent.parent/'results'

@pytest.fixture
def cache(tmp_path, monkeypatch): monkeypatch.setenv('RESVIT_CACHE', str(tmp_path))

@pytest.mark.skipif(not (REAL/'cifar100_train.tar').is_file(), reason='no CIFAR-100 here')
def test_cifar100_at_the_sizes_of_the_paper(cache):
    data = cifar100(REAL/'cifar100_train.tar', 8)
    split = find_split('paper-sizes')(data)
    assert [len(split[part]) for part in ('train', 'test')] == [6323, 12733]
    assert [len(data.names(t)) for t in TARGETS] == [20, 100] and np.bincount(data.parent).tolist() == [5]*20
    for part in split.values(): assert np.ptp(np.bincount(data.subclass[part])) <= 1
    assert len(np.unique(np.concatenate(list(split.values())))) == sum(map(len, split.values()))

FINGERPRINT = 'a3ce604032f7ded02a121f9c3230e722d560da99929f9572b4c8fc76ad64de3e'    # of the archive, and of torchvision's files

@pytest.mark.skipif(not (REAL/'cifar100_train.tar').is_file(), reason='no CIFAR-100 here')
def test_fingerprint_of_the_archive(cache):
    assert cifar100(REAL/'cifar100_train.tar', 32).fingerprint == FINGERPRINT

def write_pickles(folder, images, labels, files, superclasses, subclasses):
    "Torchvision's two files; returns what torchvision's `CIFAR100` has to be told about them"
    place = folder/CIFAR100.base_folder
    place.mkdir(parents=True)
    superclass, subclass = zip(*labels)
    written = dict(train=dict(data=images.reshape(len(images), -1), filenames=files, fine_labels=list(subclass), coarse_labels=list(superclass)),
                   meta=dict(fine_label_names=subclasses, coarse_label_names=superclasses))
    for name, content in written.items(): (place/name).write_bytes(pickle.dumps(content))
    md5 = {name: hashlib.md5((place/name).read_bytes()).hexdigest() for name in written}
    return dict(train_list=[['train', md5['train']]], test_list=[], meta={**CIFAR100.meta, 'md5': md5['meta']})

@pytest.mark.parametrize('resolution', [32, 16])
def test_torchvisions_files_and_a_tree_of_them_are_one_data_set(resolution, cache, tmp_path):
    rng = np.random.default_rng(0)
    superclasses, subclasses = [f'coarse{i:02}' for i in range(20)], [f'fine{i:02}' for i in range(100)]
    subclasses[3:5], superclasses[18:] = ['bee', 'beetle'], ['tall_2', 'tall']    # not sorted, and one the beginning of another
    parent = rng.permutation(100)//5
    images = rng.integers(0, 256, (400, 3, 32, 32), dtype=np.uint8)
    labels = [(int(parent[i]), int(i)) for i in rng.permutation(400)%100]
    files = [f'{rng.choice(["bos_s", "Bos_s", "bos"])}_{i:06}.png' for i in rng.permutation(400)]
    told = write_pickles(tmp_path/'files', images, labels, files, superclasses, subclasses)
    for image, (i, j), file in zip(images, labels, files):
        place = tmp_path/'tree'/superclasses[i]/subclasses[j]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.transpose(1, 2, 0)).save(place/file)
    with patch.multiple(CIFAR100, **told): pickled = cifar100(tmp_path/'files', resolution)
    tree = cifar100(tmp_path/'tree', resolution)
    assert pickled.fingerprint == tree.fingerprint and pickled.name == tree.name == 'cifar100'
    for field in ('images', 'superclass', 'subclass', 'superclasses', 'subclasses', 'parent'):
        assert np.array_equal(getattr(pickled, field), getattr(tree, field)), field

def correlation(a, b):
    "Of the pixels of two images"
    return np.corrcoef(a.ravel().astype(float), b.ravel().astype(float))[0, 1]

@pytest.mark.skipif(not (REAL/'cifar100_train.tar').is_file(), reason='no CIFAR-100 here')
def test_the_stored_copies_are_those_of_the_archive():
    data = cifar100(REAL/'cifar100_train.tar', 32)
    assert COPIES_FILE.read_text().splitlines()[:2] == [f'# {data.fingerprint}', 'first,second,correlation,flipped']
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

def test_copies_of_cifar100_are_known_for_its_own_images_only():
    grey = np.full((2, 3, 8, 8), 128, np.uint8)
    other = hierarchical_images(grey, [0, 0], [0, 0], ['a'], ['b'], 'cifar100')
    with pytest.raises(InputError, match='cifar100 of 8 px, fingerprint .*: its copies are not known: expected fingerprint a3ce604032f7'):
        known_copies(other)

def test_planted_copies_are_found_and_no_others():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 3, 16, 16), dtype=np.uint8)
    images[5] = images[1]
    images[50] = images[5]                                                       # three of a kind are three pairs
    images[21] = images[20][:, :, ::-1]
    images[31] = np.clip(images[30]+rng.normal(0, 15, images[30].shape), 0, 255)      # correlation .98
    images[33] = np.clip(images[32]+rng.normal(0, 60, images[32].shape), 0, 255)      # correlation .8
    images[41] = images[40][:, ::-1]                                             # upside down is another picture
    for block in (7, 1000):
        copies = find_copies(images, block=block)
        assert [(i, j, flipped) for i, j, _, flipped in copies] == [
            (1, 5, False), (1, 50, False), (5, 50, False), (20, 21, True), (30, 31, False)]
        for i, j, found, flipped in copies:
            assert abs(correlation(images[i], images[j][:, :, ::-1] if flipped else images[j])-found) < 1e-4
    assert (32, 33) in {c[:2] for c in find_copies(images, at=.7)}

def test_copies_are_dropped_from_the_test_part_of_any_data():
    rng = np.random.default_rng(1)
    n = sum(PAPER_SIZES.values())
    images = rng.integers(0, 256, (n, 3, 8, 8), dtype=np.uint8)
    plain = hierarchical_images(images, np.zeros(n, int), np.arange(n)%4, ['a'], list('bcde'), 'noise')
    parts = find_split('paper-sizes')(plain, 2)
    images[parts['test'][:3]] = images[parts['train'][7:10]]
    images[parts['test'][3]] = images[parts['valid'][0]]                           # a copy in valid does no harm
    images[parts['test'][4]] = images[parts['test'][5]]                            # nor one in test
    unique = find_split('paper-sizes-unique')(plain, 2)
    assert np.array_equal(unique['test'], parts['test'][3:])
    swapped = find_split('paper-sizes-unique-swap')(plain, 2)
    assert np.array_equal(swapped['test'], np.delete(parts['train'], [7, 8, 9]))
    assert np.array_equal(swapped['train'], parts['test'])

@pytest.mark.skipif(not (REAL/'bird_dog_reptile').is_dir(), reason="no images of the course here")
def test_the_published_records_are_of_these_images(cache):
    data = bird_dog_reptile(REAL/'bird_dog_reptile', 32)
    records = [read_record(p) for p in RESULTS.glob('bird_dog_reptile-*.json')]
    assert records and {r.data['fingerprint'] for r in records} == {data.fingerprint}
    for r in records:
        assert np.array_equal(r.images['index'], find_split(r.config.split)(data, r.config.split_seed)['test'])
        assert np.array_equal(r.images['label'], data.labels(r.config.target)[r.images['index']])
