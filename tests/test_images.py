"Labels that cannot be true, splits that cannot be made, copies in the test part."
import numpy as np, pytest
from sklearn.model_selection import train_test_split
from resvit_nb import images as images_module
from resvit_nb.core import InputError
from resvit_nb.images import find_copies, find_split, hierarchical_images, known_copies, sized_split, stratified_split

GREY = np.full((4, 3, 8, 8), 128, np.uint8)

def made(superclass, subclass):
    return hierarchical_images(GREY, superclass, subclass, ['bird', 'dog'], ['wren', 'owl', 'pug'], 'tiny')

@pytest.mark.parametrize('superclass, subclass, message', [
    ([0, 0, 1, 2], [0, 1, 2, 2], 'label 2 out of range: expected 0 to 1'),
    ([0, 0, 1, -1], [0, 1, 2, 2], 'label -1 out of range: expected 0 to 1'),
    ([0, 0, 1, .5], [0, 1, 2, 2], 'superclass float64 (4,): expected integers (4,)'),
    ([0, 0, 1, 1], [0, 1, 2], 'subclass int64 (3,): expected integers (4,)'),
    ([0, 0, 1, 1], [0, 0, 2, 2], "class 'owl' has no image"),
    ([0, 0, 1, 0], [0, 1, 2, 2], "subclass 'pug' belongs to 'bird' and 'dog'")])
def test_labels_that_cannot_be_true(superclass, subclass, message):
    with pytest.raises(InputError) as e: made(superclass, subclass)
    assert message in str(e.value)

@pytest.mark.parametrize('superclasses, subclasses, twice', [(['cat', 'cat'], list('abc'), "'cat'"),
                                                             (['a', 'b'], ['eel', 'ox', 'eel'], "'eel'")])
def test_two_classes_of_one_name(superclasses, subclasses, twice):
    with pytest.raises(InputError, match=f'class {twice} is there 2 times: expected another name for each'):
        hierarchical_images(GREY, [0, 0, 1, 1], [0, 1, 2, 2], superclasses, subclasses, 'tiny')

def test_targets_are_two():
    tiny = made([0, 0, 1, 1], [0, 1, 2, 2])
    for ask in (tiny.labels, tiny.names):
        with pytest.raises(InputError, match="target 'genus': expected one of superclass, subclass"): ask('genus')

def test_splits_that_cannot_be_made():
    two_each = hierarchical_images(np.zeros((8, 3, 8, 8), np.uint8), np.arange(8)//4, np.arange(8)//2, ['a', 'b'],
                                   list('cdef'), 'two')
    with pytest.raises(InputError, match='has 2 images: too few to split 3:1:6: expected at least 7'):
        stratified_split(two_each)
    with pytest.raises(InputError, match='8 images: expected at least 21,164 for parts of 6323, 2108, 12733'):
        find_split('paper-sizes')(two_each)
    with pytest.raises(InputError, match='two has 8 images: expected at least 9 for parts of 3, 6'):
        sized_split(two_each, 0, dict(train=3, test=6))
    with pytest.raises(InputError,
                       match="split '1:1:1': expected one of 3:1:6, swap, 8:1:1, paper-sizes, paper-sizes-swap"):
        find_split('1:1:1')

def correlation(a, b):
    "Of the pixels of two images"
    return np.corrcoef(a.ravel().astype(float), b.ravel().astype(float))[0, 1]

def test_copies_of_cifar100_are_known_for_its_own_images_only():
    grey = np.full((2, 3, 8, 8), 128, np.uint8)
    other = hierarchical_images(grey, [0, 0], [0, 0], ['a'], ['b'], 'cifar100')
    with pytest.raises(InputError,
                       match='cifar100 of 8 px, fingerprint .*: its copies are not known: expected fingerprint '
                             'a3ce604032f7'):
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

def test_copies_are_dropped_from_the_test_part_of_any_data(monkeypatch):
    monkeypatch.setattr(images_module, 'PAPER_SIZES', dict(train=20, valid=8, test=40))
    rng, n = np.random.default_rng(1), 68
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

# ---- sizes that leave a few images over, rare classes
def counted(counts):
    "A data set of as many one-pixel pictures of each subclass as `counts` says"
    subclass = np.repeat(np.arange(len(counts)), counts)
    superclass = (subclass >= len(counts)//2).astype(int)
    return hierarchical_images(np.zeros((len(subclass), 3, 1, 1), np.uint8), superclass, subclass, ['a', 'b'],
                               [f'c{i}' for i in range(len(counts))], 'made')

def even(n, k): return np.full(k, n//k)+(np.arange(k) < n%k)

@pytest.mark.parametrize('more', [0, 1, 2, 4, 5, 7, 8, 40])
@pytest.mark.parametrize('sizes', [dict(train=20, valid=10, test=30), dict(train=30, valid=3, test=11),
                                   dict(train=9, test=50)])
def test_sizes_with_a_few_images_over(more, sizes):
    data = counted(even(sum(sizes.values())+more, 8))
    parts = sized_split(data, 3, sizes)
    assert {part: len(np.unique(index)) for part, index in parts.items()} == sizes
    assert len(np.unique(np.concatenate(list(parts.values())))) == sum(sizes.values())
    assert max(np.ptp(np.bincount(data.subclass[i], minlength=8)) for i in parts.values()) <= 2
    assert all(np.array_equal(a, b) for a, b in zip(parts.values(), sized_split(data, 3, sizes).values()))

@pytest.mark.parametrize('rare', [1, 2, 3, 6])
def test_a_rare_class_is_split_or_named(rare):
    counts = even(21_164+1000, 87); counts[5] = rare
    data = counted(counts)
    for seed in range(6):
        try: parts = find_split('paper-sizes')(data, seed)
        except InputError as e:
            assert str(e) == f"class 'c5' has no image in train, of {rare} in all: expected some of every class"
        else: assert 5 in data.subclass[parts['train']]

@pytest.mark.parametrize('sizes', [dict(train=20, valid=10, test=30)])
def test_published_splits_stay(sizes):
    data = counted(even(200, 8))
    parts = sized_split(data, 0, sizes)
    rest, expected = np.arange(200), {}
    for part, n in sizes.items():
        taken, rest = train_test_split(rest, train_size=n, stratify=data.subclass[rest], random_state=0)
        expected[part] = np.sort(taken)
    assert all(np.array_equal(parts[p], expected[p]) for p in sizes)

@pytest.mark.parametrize('part', [[0, 1], [0, 1, 2, 3], [0, 0, 0, -1], [0., 1., 2., 2.], 'test',
                                  [[0, 1, 2, 2]], [None]*4])
def test_parts_that_are_none(part):
    with pytest.raises(InputError, match=r'^part .*: expected integers \(4,\) from 0 to 2'):
        hierarchical_images(GREY, [0, 0, 1, 1], [0, 1, 2, 2], ['bird', 'dog'], ['wren', 'owl', 'pug'], 'tiny', part)

@pytest.mark.parametrize('images', [[[1]], None, 'photos', GREY.tolist()])
def test_images_that_are_no_array(images):
    with pytest.raises(InputError, match='^images: expected an array uint8'):
        hierarchical_images(images, [0], [0], ['a'], ['b'], 'tiny')

@pytest.mark.parametrize('sizes', [dict(train=5, valid=-1), dict(train=2.5), dict(train='3'), dict(train=True)])
def test_sizes_that_are_none(sizes):
    with pytest.raises(InputError, match='^sizes .*: expected whole numbers of at least 0'):
        sized_split(made([0, 0, 1, 1], [0, 1, 2, 2]), 0, sizes)

@pytest.mark.parametrize('split, least', [('8:1:1', 8), ('3:1:6', 7)])
def test_how_many_images_a_split_needs(split, least):
    def of(n): return hierarchical_images(np.zeros((n, 3, 1, 1), np.uint8), [0]*n, [0]*n, ['a'], ['b'], 'tiny')
    for n in range(least, 40): assert min(map(len, find_split(split)(of(n), 0).values())) > 0
    with pytest.raises(InputError, match=f'has {least-1} images: .* expected at least {least}$'):
        find_split(split)(of(least-1), 0)
    with pytest.raises(InputError, match="'b' has 1 image: too few"): find_split(split)(of(1), 0)
