"The real images, where RESVIT_TEST_DATA names a folder that has them."
import os
from pathlib import Path
import numpy as np, pytest
from resvit_nb.data import TARGETS, bird_dog_reptile, cifar100, find_split
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

@pytest.mark.skipif(not (REAL/'bird_dog_reptile').is_dir(), reason="no images of the course here")
def test_the_published_records_are_of_these_images(cache):
    data = bird_dog_reptile(REAL/'bird_dog_reptile', 32)
    records = [read_record(p) for p in RESULTS.glob('bird_dog_reptile-*.json')]
    assert records and {r.data['fingerprint'] for r in records} == {data.fingerprint}
    for r in records:
        assert np.array_equal(r.images['index'], find_split(r.config.split)(data, r.config.split_seed)['test'])
        assert np.array_equal(r.images['label'], data.labels(r.config.target)[r.images['index']])
