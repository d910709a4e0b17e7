"Folders, archives and names that cannot be read; what the pages do not show."
import hashlib, pickle, shutil, tarfile
from unittest.mock import patch
import numpy as np, pytest
from PIL import Image
from torchvision.datasets import CIFAR100
from resvit_nb.core import InputError
from resvit_nb.sources import bird_dog_reptile, cifar100, decode_image, fractals, image_tree, load_data

@pytest.fixture(scope='module')
def place(tmp_path_factory):
    "A folder with a course folder of 174 images in it, and a cache of its own"
    folder = tmp_path_factory.mktemp('sources')
    patched = pytest.MonkeyPatch(); patched.setenv('RESVIT_CACHE', str(folder/'cache'))
    data, course = fractals(n_per_subclass=2, resolution=8), folder/'course'
    (course/'train_images').mkdir(parents=True)
    for target in ('superclass', 'subclass'):
        lines = [f'{i},"{c}"' for i, c in enumerate([*data.names(target), 'novel'])]
        (course/f'{target}_mapping.csv').write_text('\n'.join(['index,class', *lines]), 'utf-8')
    lines = [f'{i}.png,{data.superclass[i]},{data.subclass[i]},"a picture, drawn"' for i in range(len(data))]
    (course/'train_data.csv').write_text('\n'.join(['image,superclass_index,subclass_index,description', *lines]), 'utf-8')
    for i, image in enumerate(data.images): Image.fromarray(image.transpose(1, 2, 0)).save(course/f'train_images/{i}.png')
    Image.fromarray(data.images[0].transpose(1, 2, 0)).save(folder/'one.png')
    yield folder
    patched.undo()

def edit(name, old, new): return lambda f: (f/name).write_text((f/name).read_text('utf-8').replace(old, new, 1), 'utf-8')
def linked(f): (f/'train_images/3.png').unlink(); (f/'train_images/3.png').symlink_to(f.parents[1]/'one.png')

@pytest.mark.parametrize('change, message', [
    (shutil.rmtree, 'course: folder missing: expected train_data.csv'),
    (lambda f: (f/'subclass_mapping.csv').unlink(), 'subclass_mapping.csv: file missing'),
    (edit('train_data.csv', 'subclass_index', 'label'), "column 'subclass_index' missing"),
    (edit('train_data.csv', '3.png,0,1', '3.png,0,99'), 'line 5: subclass_index 99 out of range'),
    (edit('train_data.csv', '3.png,0,1', '3.png,3,1'), 'line 5: superclass_index 3 out of range'),
    (edit('train_data.csv', '3.png,0,1', '3.png,bird,1'), "superclass_index 'bird': expected an integer"),
    (edit('train_data.csv', '"a picture, drawn"', '"a picture'), 'train_data.csv, from line 2 on: '),
    (edit('train_data.csv', '3.png', '2.png'), "line 5: image '2.png' again, as in line 4: expected each image once"),
    (edit('subclass_mapping.csv', '1,"', '1,a, "'), 'subclass_mapping.csv, line 3: more fields than the 2 columns'),
    (edit('train_data.csv', '3.png', '../3.png'), 'leaves the folder'),
    (linked, 'line 5: 3.png: a link that leaves the folder'),
    (lambda f: (f/'train_images/3.png').unlink(), 'line 5: 3.png: image missing'),
    (lambda f: (f/'train_images/3.png').write_bytes(b'GIF'), 'line 5: 3.png: not a readable image')])
def test_course_folder_that_is_not_what_it_should_be(place, tmp_path, change, message):
    copy = place/'copies'/tmp_path.name/'course'
    shutil.copytree(place/'course', copy)
    linked_to = copy.parents[1]/'one.png'
    if not linked_to.exists(): shutil.copy(place/'one.png', linked_to)
    change(copy)
    with pytest.raises(InputError) as e: bird_dog_reptile(copy)
    assert message in str(e.value)
    assert not [p for p in (place/'cache/images').iterdir() if p.name.startswith('making-')]

def test_image_that_is_missing_or_cut(place, tmp_path):
    (tmp_path/'cut.png').write_bytes((place/'one.png').read_bytes()[:100])
    with pytest.raises(InputError, match='cut.png: not a readable image'): decode_image(tmp_path/'cut.png', 32, 'cut.png')
    with pytest.raises(InputError, match='two.png: image missing'): decode_image(tmp_path/'two.png', 32, 'two.png')

def test_trees_that_are_none(place, tmp_path):
    for path, message in ((tmp_path/'nowhere', 'nowhere: folder or archive missing'), (place/'one.png', 'one.png: not an uncompressed tar archive'),
                          (tmp_path, 'no image found'), (place/'course/train_images', 'expected superclass/subclass/image')):
        with pytest.raises(InputError, match=message): image_tree(path)
    with tarfile.open(tmp_path/'evil.tar', 'w') as tar: tar.add(place/'one.png', '../a/b/one.png', filter=lambda m: m)
    with pytest.raises(InputError, match='leaves the folder'): image_tree(tmp_path/'evil.tar')

def test_cifar100_that_is_none(place, tmp_path):
    (tmp_path/'tree/a/b').mkdir(parents=True); shutil.copy(place/'one.png', tmp_path/'tree/a/b')
    with pytest.raises(InputError, match='1 superclasses and 1 subclasses: expected 20 and 100'): cifar100(tmp_path/'tree')
    with patch('torchvision.datasets.utils.urllib.request.urlopen', side_effect=OSError('no network')):
        with pytest.raises(InputError, match='CIFAR-100 is not there whole and cannot be downloaded'): cifar100(tmp_path/'not there')

@pytest.mark.parametrize('argv, message', [
    (('mnist',), "data 'mnist': expected one of fractals, bird_dog_reptile, image_tree, cifar100"),
    (('bird_dog_reptile',), 'read from disk: expected its folder as data_dir'),
    (('fractals', 32, 'here'), 'generated: expected no data_dir'), (('fractals', 0), 'resolution 0: expected 8 to 1024 pixels')])
def test_load_data_refuses(argv, message):
    with pytest.raises(InputError, match=message): load_data(*argv)

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
def test_torchvisions_files_and_a_tree_of_them_are_one_data_set(resolution, place, tmp_path):
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
