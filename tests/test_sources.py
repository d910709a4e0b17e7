"Folders, archives and names that cannot be read; what the pages do not show."
import functools, hashlib, io, os, pickle, shutil, signal, struct, subprocess, sys, tarfile, time, unicodedata
import warnings, zipfile, zlib
from pathlib import Path
from unittest.mock import patch
import numpy as np, psutil, pytest
from PIL import Image, features
from torchvision.datasets import CIFAR100
from resvit_nb import listing, pictures, reproduce, runs, sources, trees
from resvit_nb.core import InputError, printable
from resvit_nb.images import find_split, same_pictures
from resvit_nb.pictures import decode_image, decode_picture
from resvit_nb.listing import list_archive
from resvit_nb.course import bird_dog_reptile, read_table
from resvit_nb.trees import image_tree
from resvit_nb.sources import cifar100, describe_split, draw_sheet, fractals, load_data, resvit_data
from resvit_nb.models import imagenet_file
from resvit_nb.protocol import make_plan
from resvit_nb.records import read_record
from resvit_nb.submit import read_others

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
    (course/'train_data.csv').write_text('\n'.join(['image,superclass_index,subclass_index,description', *lines]),
                                         'utf-8')
    for i, image in enumerate(data.images):
        Image.fromarray(image.transpose(1, 2, 0)).save(course/f'train_images/{i}.png')
    Image.fromarray(data.images[0].transpose(1, 2, 0)).save(folder/'one.png')
    yield folder
    patched.undo()

def edit(name, old, new):
    return lambda f: (f/name).write_text((f/name).read_text('utf-8').replace(old, new, 1), 'utf-8')
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
    with pytest.raises(InputError, match='cut.png: not a readable image'):
        decode_image(tmp_path/'cut.png', 32, 'cut.png')
    with pytest.raises(InputError, match='two.png: image missing'): decode_image(tmp_path/'two.png', 32, 'two.png')

def test_trees_that_are_none(place, tmp_path):
    for path, message in ((tmp_path/'nowhere', 'nowhere: folder or archive missing'),
                          (place/'one.png', 'one.png: not an uncompressed tar archive'),
                          (tmp_path, 'no image found'), (place/'course/train_images',
                                                         'expected superclass/subclass/image')):
        with pytest.raises(InputError, match=message): image_tree(path)
    with tarfile.open(tmp_path/'evil.tar', 'w') as tar: tar.add(place/'one.png', '../a/b/one.png', filter=lambda m: m)
    with pytest.raises(InputError, match='leaves the folder'): image_tree(tmp_path/'evil.tar')

def test_cifar100_that_is_none(place, tmp_path):
    (tmp_path/'tree/a/b').mkdir(parents=True); shutil.copy(place/'one.png', tmp_path/'tree/a/b')
    with pytest.raises(InputError, match='1 superclasses and 1 subclasses: expected 20 and 100'):
        cifar100(tmp_path/'tree')
    with patch('torchvision.datasets.utils.urllib.request.urlopen', side_effect=OSError('no network')):
        with pytest.raises(InputError, match='CIFAR-100 is not there whole and cannot be downloaded'):
            cifar100(tmp_path/'not there')

@pytest.mark.parametrize('argv, message', [
    (('mnist',), "data 'mnist': expected one of fractals, bird_dog_reptile, image_tree, cifar100"),
    (('bird_dog_reptile',), 'read from disk: expected its folder as data_dir'),
    (('fractals', 32, 'here'), 'generated: expected no data_dir'),
    (('fractals', 0), 'resolution 0: expected 8 to 1024 pixels'),
    (('fractals', '32'), "resolution '32': expected 8 to 1024 pixels"),
    (('fractals', 16.5), 'resolution 16.5: expected 8 to 1024 pixels'),
    (('fractals', 16, None, -1), 'family -1: expected a whole number from 0'),
    (('fractals', 16, None, 0, 0), 'n_per_subclass 0: expected 1 or more'),
    (('fractals', 16, None, 0, True), 'n_per_subclass True: expected 1 or more')])
def test_load_data_refuses(argv, message):
    with pytest.raises(InputError, match=message): load_data(*argv)

def write_pickles(folder, images, labels, files, superclasses, subclasses):
    "Torchvision's two files; returns what torchvision's `CIFAR100` has to be told about them"
    place = folder/CIFAR100.base_folder
    place.mkdir(parents=True)
    superclass, subclass = zip(*labels)
    written = dict(train=dict(data=images.reshape(len(images), -1), filenames=files, fine_labels=list(subclass),
                              coarse_labels=list(superclass)),
                   meta=dict(fine_label_names=subclasses, coarse_label_names=superclasses))
    for name, content in written.items(): (place/name).write_bytes(pickle.dumps(content))
    md5 = {name: hashlib.md5((place/name).read_bytes()).hexdigest() for name in written}
    return dict(train_list=[['train', md5['train']]], test_list=[], meta={**CIFAR100.meta, 'md5': md5['meta']})

@pytest.mark.parametrize('resolution', [32, 16])
def test_torchvisions_files_and_a_tree_of_them_are_one_data_set(resolution, place, tmp_path):
    rng = np.random.default_rng(0)
    superclasses, subclasses = [f'coarse{i:02}' for i in range(20)], [f'fine{i:02}' for i in range(100)]
    # not sorted, and one the beginning of another
    subclasses[3:5], superclasses[18:] = ['bee', 'beetle'], ['tall_2', 'tall']
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

# ---- trees: what lies there is used or named
def picture(i, kind='PNG', size=8):
    "A picture of its own, as a file of that kind"
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(i).integers(0, 256, (size, size, 3), dtype=np.uint8)).save(file, kind)
    return file.getvalue()

PETS = {f'{folder}/{i}.png': picture(100*k+i) for k, folder in enumerate(('bird/owl', 'bird/wren', 'dog/pug',
    'dog-house/kennel'), 1) for i in range(10)}

def write(root, files):
    "A tree of files, by name"
    for name, content in files.items():
        (root/name).parent.mkdir(parents=True, exist_ok=True)
        (root/name).write_bytes(content)
    return root

def pack(path, files, prefix='pets/', mtime=0):
    "The same files as an archive, in the order of their names as text"
    with tarfile.open(path, 'w') as tar:
        for name, content in sorted(files.items()):
            m = tarfile.TarInfo(prefix+name); m.size, m.mtime = len(content), mtime
            tar.addfile(m, io.BytesIO(content))
    return path

def read_both(tmp_path, files):
    "A folder and an archive of the files, which must be read the same"
    folder, archive = image_tree(write(tmp_path/'pets', files), 8), image_tree(pack(tmp_path/'pets.tar', files), 8)
    assert (folder.fingerprint, folder.superclasses, folder.subclasses) == (archive.fingerprint, archive.superclasses,
        archive.subclasses)
    assert len(folder.notes) == len(archive.notes)
    assert [f.removeprefix('pets/') for f in archive.files] == list(folder.files)
    return folder

@pytest.fixture(scope='module')
def plain(place): return image_tree(write(place/'plain/pets', PETS), 8)

ODD = {    # what is added, and what is said
    'Jupyter, in a subclass': ({'dog/pug/.ipynb_checkpoints/1-checkpoint.png': picture(1)},
                               ['1 thing of other programs', '.ipynb_checkpoints']),
    'a NAS': ({f'dog/pug/@eaDir/{i}.png/SYNOFILE_THUMB_M.png': picture(i) for i in range(20)}, ['@eaDir']),
    'macOS, zipped': ({f'__MACOSX/{n.rsplit("/", 1)[0]}/._{n.rsplit("/", 1)[1]}': b'\0\5\x16\7' for n in PETS},
                      ['__MACOSX']),
    'a bin': ({f'.Trash-1000/files/dog/poodle/{i}.png': picture(i) for i in range(30)}, ['.Trash-1000']),
    "Windows' bin": ({f'$RECYCLE.BIN/S-1-5/{i}.png': picture(i) for i in range(30)}, ['$RECYCLE.BIN']),
    'a file system': ({'lost+found/x/1.png': b'half'}, ['lost+found']),
    'thumbnails': ({'dog/Thumbs.db': b'x', 'dog/pug/.DS_Store': b'x', 'dog/pug/desktop.ini': b'x'},
                   ['3 things of other programs']),
    'notes of ones own': ({'readme.md': b'x', 'dog/pug/list.csv': b'x', 'a/b/c.heic': b'x'},
                          ['3 files of other kinds', 'readme.md']),
    'records': ({'results/run.json': b'{}', 'results/run.npz': b'x'}, ['2 files of other kinds', 'results/run.json']),
    'a contact sheet': ({'sheet.png': picture(3)}, ['1 image outside of a class (sheet.png)' ]),
    'covers': ({'dog/cover.jpg': picture(4, 'JPEG'), 'bird/cover.jpg': picture(5, 'JPEG')},
               ['2 images outside of a class']),
    'a folder of one sheet': ({'sheets/all.png': picture(3)}, ['1 image outside of a class']),
    'a lock of an office program': ({'dog/pug/~$1.png': b'who'}, ['1 thing of other programs (dog/pug/~$1.png)']),
    'yesterday, on a NAS': ({f'~snapshot/hourly.0/{n}': c for n, c in PETS.items()},
                            ['1 thing of other programs (~snapshot)']),
    'downloads that are not finished': ({'dog/pug/77.png.crdownload': b'x', 'dog/pug/78.jpg.part': b'x'},
                                        ['2 files of other kinds']),
    'a backup of an editor': ({'dog/pug/1.png~': picture(3), 'dog~/pug/1.png': picture(3)},
                              ['2 things of other programs'])}

@pytest.mark.parametrize('added, said', ODD.values(), ids=ODD)
def test_what_makes_no_class_is_named_and_loses_no_image(added, said, plain, place, tmp_path):
    data = read_both(tmp_path, PETS | added)
    assert (data.fingerprint, data.superclasses, data.subclasses) == (plain.fingerprint, plain.superclasses,
        plain.subclasses)
    assert len(data.notes) == 1 and all(s in data.notes[0] for s in said), data.notes

def test_a_tidy_tree_needs_no_words(plain):
    assert plain.notes == [] and plain.superclasses == ['bird', 'dog', 'dog-house'] and len(plain) == 40

KINDS = [('JPEG', 'jpg'), ('JPEG', 'jpeg'), ('JPEG', 'jfif'), ('JPEG', 'JPG'), ('WEBP', 'webp'), ('BMP', 'bmp'),
         ('GIF', 'gif'), ('TIFF', 'tif'), ('TIFF', 'TIFF'), ('MPO', 'jpg'),
         *([('AVIF', 'avif')] if features.check('avif') else [])]

@pytest.mark.parametrize('kind, suffix', KINDS)
def test_every_suffix_of_an_image_is_used(kind, suffix, place, tmp_path):
    data = read_both(tmp_path, PETS | {f'dog/boxer/{i}.{suffix}': picture(i, kind) for i in range(5)})
    assert np.bincount(data.subclass).tolist() == [5, 10, 10, 10, 10] and data.notes == []

def test_folders_below_a_class_belong_to_it(plain, place, tmp_path):
    moved = {(n.replace('pug/', 'pug/summer/June/') if int(n[-5])>6 else n): c for n, c in PETS.items()}
    data = read_both(tmp_path, moved)
    assert data.subclasses == plain.subclasses and np.bincount(data.subclass).tolist() == [10]*4
    assert data.notes == ['in folders below that of their class: 3 images (dog/pug/summer/June/7.png, '
                          'dog/pug/summer/June/8.png, dog/pug/summer/June/9.png)']

def test_folders_that_hold_everything_are_no_class(plain, place, tmp_path):
    wrapped = image_tree(write(tmp_path/'a', {f'my photos/2026/{n}': c for n, c in PETS.items()}), 8)
    assert wrapped.fingerprint == plain.fingerprint and wrapped.superclasses == plain.superclasses

def test_one_level_of_folders(place, tmp_path):
    one = read_both(tmp_path, {n.split('/', 1)[1]: c for n, c in PETS.items()})
    assert one.superclasses == one.subclasses == ['kennel', 'owl', 'pug', 'wren']
    assert one.parent.tolist() == [0, 1, 2, 3]
    assert one.notes == ['one level of folders: each class is its own superclass and subclass']

LEVELS = {
    'no folder': ({f'{i}.png': picture(i) for i in range(9)},
                  '0.png: images in no folder: expected superclass/subclass/image'),
    'one level too high': ({f'{s}/{n}': c for n, c in PETS.items() for s in ('pets', 'wild')},
                           'pets/bird/owl/0.png: images in more than two folders: expected superclass/subclass/image; '
                           'in pets?'),
    'a superclass without subclasses': (PETS | {f'cat/{i}.png': picture(i) for i in range(12)},
                                        'folder cat holds 12 images and no subclass: expected '
                                        'superclass/subclass/image'),
    'parts without classes': ({f'{p}/{i}.png': picture(i) for i in range(5) for p in ('train', 'test')},
                              'folder test holds images itself'),
    "the course's folders": ({f'{p}_images/{i}.png': picture(i) for i in range(5) for p in ('train', 'test')},
                             'folder test_images holds images itself'),
    'two parents': (PETS | {'bird/pug/0.png': picture(0)},
                    "subclass 'pug' belongs to 'bird' and 'dog': expected one superclass"),
    'a class of control characters': (PETS | {'bird/a\x07b/0.png': picture(0)},
                                      r"class 'a\x07b': expected a name that can be printed")}

@pytest.mark.parametrize('files, message', LEVELS.values(), ids=LEVELS)
def test_trees_with_other_levels_are_explained_in_one_line(files, message, place, tmp_path):
    for path in (write(tmp_path/'pets', files), pack(tmp_path/'pets.tar', files, prefix='')):
        with pytest.raises(InputError) as e: image_tree(path, 8)
        assert message in str(e.value) and '\n' not in str(e.value)

def parted(*parts): return {f'{parts[i%len(parts)]}/{n}': c for i, (n, c) in enumerate(PETS.items())}

@pytest.mark.parametrize('names', [('train', 'valid', 'test'), ('Train', 'val', 'TEST'),
                                   ('training', 'validation', 'testing')])
def test_ready_made_parts_are_kept(names, place, tmp_path):
    data = read_both(tmp_path, parted(*names))
    split = find_split('own-8:1:1')(data, 5)
    assert data.superclasses == ['bird', 'dog', 'dog-house'] and len(data) == 40
    for part, name in zip(('train', 'valid', 'test'), names):
        assert {data.files[i].split('/')[0] for i in split[part]} == {name}
    assert sorted(np.concatenate(list(split.values()))) == list(range(40))
    assert find_split('own-3:1:6-swap')(data, 0)['train'].tolist() == split['test'].tolist()
    for other in ('3:1:6', 'swap', '8:1:1', 'paper-sizes'):
        with pytest.raises(InputError, match='pets has train, valid and test folders, which another split would mix'):
            find_split(other)(data, 0)

def test_other_parts_are_other_data(place, tmp_path):
    one, two = image_tree(write(tmp_path/'a/pets', parted('train', 'valid', 'test')),
                          8), image_tree(write(tmp_path/'b/pets', parted('train', 'test', 'valid')), 8)
    assert one.fingerprint != two.fingerprint

@pytest.mark.parametrize('other', ['test', 'val'])
def test_without_a_third_folder_valid_is_dealt_out_of_train(other, place, tmp_path):
    data = read_both(tmp_path, parted('train', 'train', 'train', other))
    split = find_split('own-8:1:1')(data, 0)
    assert {data.files[i].split('/')[0] for i in split['test']} == {other} and len(split['test']) == 10
    assert {data.files[i].split('/')[0] for p in ('train', 'valid') for i in split[p]} == {'train'}
    assert len(split['valid']) == 4
    assert 'valid is to be dealt out of train' in data.notes[0]

def test_a_class_that_nobody_trains_on(place, tmp_path):
    files = parted('train', 'valid', 'test') | {'test/cat/manx/1.png': picture(1)}
    with pytest.raises(InputError, match="class 'manx' has no image in train, of 1 in all"):
        find_split('own-8:1:1')(image_tree(write(tmp_path/'pets', files), 8), 0)

@pytest.mark.parametrize('name, said', [('dog/Pug', "'Pug', 'pug'"), ('dog/pug ', "'pug', 'pug '"),
                                        ('bird/OWL', "'OWL', 'owl'"), ('BIRD/rook', "'BIRD', 'bird'")])
def test_names_that_people_take_for_one_are_named(name, said, place, tmp_path):
    data = read_both(tmp_path, PETS | {f'{name}/{i}.png': picture(i) for i in range(5)})
    assert data.notes == [f'different classes, though only in capitals or spaces: {said}'] and len(data.subclasses) == 5

def test_one_name_in_two_normal_forms_is_one_class(place, tmp_path):
    forms = [unicodedata.normalize(form, 'dog/Šarplaninec') for form in ('NFC', 'NFD')]
    data = read_both(tmp_path, PETS | {f'{form}/{k}{i}.png': picture(50*k+i) for k, form in enumerate(forms)
                                       for i in range(3)})
    assert data.subclasses.count('Šarplaninec') == 1 and data.notes == []
    assert (data.subclass == data.subclasses.index('Šarplaninec')).sum() == 6

def cut(where): return lambda b: b[:where(len(b))]
DAMAGED = {'in a header': cut(lambda n: (n//3)//512*512+300), 'at a header': cut(lambda n: 10240+512*4),
           'before the zeros at its end': cut(lambda n: 2*512*len(PETS)),
           'in its middle': lambda b: b[:20*1024]+b'\xff'*512+b[20*1024+512:]}

@pytest.mark.parametrize('damage', DAMAGED.values(), ids=DAMAGED)
def test_an_archive_that_was_cut_off_or_damaged_is_not_read_in_part(damage, place, tmp_path):
    # a header and a block each
    path = pack(tmp_path/'pets.tar', {n: picture(int(n[-5]), size=8)[:400].ljust(500, b'x') for n in PETS})
    whole = path.read_bytes()
    assert len(list_archive(path)[0]) == 40
    path.write_bytes(damage(whole))
    with pytest.raises(InputError,
                       match='pets.tar: not an uncompressed tar archive, or damaged: expected a folder, or a whole '
                             'archive'): list_archive(path)

def test_paths_in_an_archive_may_be_untidy(plain, place, tmp_path):
    for k, prefix in enumerate(('./', './/', 'pets//./', '')):
        data = image_tree(pack(tmp_path/f'{k}.tar', {n.replace('/', '//'): c for n, c in PETS.items()}, prefix=prefix),
                          8)
        assert (data.fingerprint, data.subclasses, data.notes) == (plain.fingerprint, plain.subclasses, [])

@pytest.mark.parametrize('name, mode', [('pets.tar.gz', 'w:gz'), ('pets.tar', 'w:xz'), ('pets.zip', None)])
def test_compressed_archives_are_refused_with_what_is_expected(name, mode, place, tmp_path):
    if mode:
        with tarfile.open(tmp_path/name, mode) as tar: tar.add(place/'one.png', 'a/b/one.png')
    else:
        with zipfile.ZipFile(tmp_path/name, 'w') as z: z.write(place/'one.png', 'a/b/one.png')
    with pytest.raises(InputError, match='expected a folder, or a whole archive as `tar -cf` makes it'):
        image_tree(tmp_path/name, 8)

# ---- identity is content
def same_size(value): return Image.new('RGB', (8, 8), (value, 0, 0))

def bitmaps(value):
    file = io.BytesIO(); same_size(value).save(file, 'BMP')
    return {f'{c}/{i}.bmp': file.getvalue() for c in ('a/b', 'c/d') for i in range(3)}

def test_an_archive_written_again_with_its_size_and_time(place, tmp_path):
    path, seen = tmp_path/'x.tar', []
    for value in (10, 200, 10):
        pack(path, bitmaps(value)); os.utime(path, (10**9, 10**9))
        seen.append(int(image_tree(path, 8).images[0, 0, 0, 0]))
    assert seen == [10, 200, 10]

@pytest.mark.parametrize('wait', [False, True])
def test_files_copied_over_with_their_times(wait, place, tmp_path, monkeypatch):
    if wait: monkeypatch.setattr(pictures, 'SETTLED', 0)    # as if all files were old
    folder, seen = tmp_path/'x', []
    for value in (10, 200, 10):
        for name, content in bitmaps(value).items():
            (folder/name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path/'new').write_bytes(content); os.utime(tmp_path/'new', (10**9, 10**9))
            if value==200: shutil.copy2(tmp_path/'new', folder/name)
            else: os.replace(tmp_path/'new', folder/name)
        if wait: time.sleep(.05)    # a tick of the file system's clock
        seen.append(int(image_tree(folder, 8).images[0, 0, 0, 0]))
    assert seen == [10, 200, 10]

def test_a_copy_elsewhere_is_the_same_set_and_is_not_decoded_again(plain, place, tmp_path, monkeypatch):
    shutil.copytree(place/'plain/pets', tmp_path/'pets')
    monkeypatch.setattr(trees, 'decode_images', None)
    assert image_tree(tmp_path/'pets', 8).images.filename == plain.images.filename

@pytest.mark.parametrize('damage', [b'', b'{', b'[]', b'{"a": 1}', b'null'])
def test_a_damaged_index_costs_time_only(damage, plain, place):
    image_tree(place/'plain/pets', 8)
    indices = [p for p in (place/'cache/hashes').iterdir() if str(place/'plain/pets') in p.read_text('utf-8')]
    for p in indices: p.write_bytes(damage)
    assert indices and image_tree(place/'plain/pets', 8).fingerprint == plain.fingerprint

def test_settled_files_are_not_read_again(plain, place, monkeypatch):
    files = [place/'plain/pets'/f for f in plain.files]
    monkeypatch.setattr(pictures, 'SETTLED', -10**18)
    known = pictures.content_hashes(files, {})
    monkeypatch.setattr('builtins.open', None)
    assert pictures.content_hashes(files, known) == known

# ---- many pictures: decoded in processes
@pytest.fixture
def in_processes(monkeypatch):
    if sys.platform != 'linux': pytest.skip('no processes can be split off here')
    monkeypatch.setattr(pictures, 'MANY_PICTURES', 0)
    monkeypatch.setattr(pictures, 'ThreadPoolExecutor', None)

def test_processes_decode_what_threads_do(plain, tmp_path, monkeypatch, in_processes):
    monkeypatch.setenv('RESVIT_CACHE', str(tmp_path/'cache'))
    assert np.array_equal(read_both(tmp_path, PETS).images, plain.images)

def test_processes_name_the_first_bad_image(tmp_path, in_processes):
    before = psutil.Process().children()
    good, cut = PETS['bird/wren/0.png'], PETS['bird/wren/0.png'][:40]
    files = [functools.partial(io.BytesIO, cut if i in (70, 30, 55) else good) for i in range(80)]
    with pytest.raises(InputError, match='^picture 30: not a readable image'):
        pictures.decode_images(files, pictures.shared_array(80, 8), [f'picture {i}' for i in range(80)])
    assert psutil.wait_procs([p for p in psutil.Process().children() if p not in before], 10)[1] == []

def test_memory_of_its_own_is_filled_in_this_process(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, 'MANY_PICTURES', 0)
    monkeypatch.setattr(pictures, 'ProcessPoolExecutor', None)
    files = [functools.partial(io.BytesIO, c) for c in PETS.values()]
    own, shared = np.zeros((len(files), 3, 8, 8), np.uint8), np.array(pictures.shared_array(len(files), 8))
    for images in (own, own[:], shared, np.memmap(tmp_path/'copied', np.uint8, 'w+', shape=own.shape).copy()):
        images[:] = 0
        pictures.decode_images(files, images, [''] * len(files))
        assert images.reshape(len(files), -1).any(1).all()

def test_shared_memory_is_known(tmp_path):
    mapped = np.memmap(tmp_path/'mapped', np.uint8, 'w+', shape=(4, 3, 8, 8))
    shared = pictures.shared_array(4, 8)
    assert all(map(pictures.is_shared, (mapped, mapped[1:], shared, shared[::2], pictures.shared_array(0, 8))))
    assert not any(map(pictures.is_shared, (np.empty((4, 3, 8, 8), np.uint8), np.array(mapped), shared.copy())))
    assert shared.shape == (4, 3, 8, 8) and len(pictures.shared_array(0, 8)) == 0

STUCK = """
import os, time
from resvit_nb import pictures
from resvit_nb.core import console_script
def slow():
    os.write(1, b'%d\\n' % os.getpid())
    time.sleep(60)
pictures.MANY_PICTURES = 0
@console_script
def wait(): pictures.decode_images([slow]*64, pictures.shared_array(64, 8), ['']*64)
wait.command([])
"""
@pytest.fixture
def stuck(tmp_path):
    "A command that waits for pictures, and one of the processes that decode them"
    if sys.platform != 'linux': pytest.skip('no processes can be split off here')
    (tmp_path/'it.py').write_text(STUCK, 'utf-8')
    command = subprocess.Popen([sys.executable, '-W', 'ignore', tmp_path/'it.py'], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, encoding='ascii', start_new_session=True,
                               # a shell's background jobs do not hear it
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    return command, psutil.Process(int(command.stdout.readline()))

@pytest.mark.parametrize('sign, group, status', [(signal.SIGKILL, False, -9), (signal.SIGTERM, False, 143),
                                                 (signal.SIGTERM, True, 143), (signal.SIGINT, True, 130)])
def test_no_process_that_decodes_outlives_the_command(sign, group, status, stuck):
    command, helper = stuck
    (os.killpg if group else os.kill)(command.pid, sign)
    assert psutil.wait_procs([helper], 10)[1] == []
    said = command.communicate(timeout=10)[1]
    assert command.returncode == status
    assert said == ('' if status < 0 else 'wait: stopped; to go on, run the same command again\n')

def test_a_process_that_the_system_ends_is_said_in_one_line(stuck):
    command, helper = stuck
    helper.kill()
    assert command.communicate(timeout=10)[1] == (
        'wait: error: out of memory: the system ended a process that decoded images\n')
    assert command.returncode == 1

# ---- one's own pictures, said before a training begins
def test_copies_across_the_split_are_named(place, tmp_path):
    files = PETS | {f'bird/wren/copy {i}.png': PETS[f'bird/wren/{i}.png'] for i in range(10)}
    data = image_tree(write(tmp_path/'pets', files), 8)
    split = find_split('own-8:1:1')(data, 0)
    found = same_pictures(data, split)
    assert found
    assert all(i in split['train'] and j not in split['train']
               and data.files[i].split()[-1][-5] == data.files[j].split()[-1][-5] for i, j in found)
    said = describe_split(data, 'own-8:1:1').splitlines()
    assert len(said) == 2
    assert said[1].startswith(f'in valid or test, and pixel by pixel in train, too: {len(found)} image')
    assert 'bird/wren/' in said[1]

def test_enlargement_is_said(place, tmp_path):
    files = PETS | {f'dog/pug/large {i}.png': picture(i, size=40) for i in range(3)}
    assert image_tree(write(tmp_path/'pets', files),
                      16).notes == ['enlarged to 16 px: 40 of 43 images; the smallest has 8 px']

def frames(kind, n, cut=0):
    "A file of `n` pages or frames in different greys, without its last bytes"
    pages = [Image.new('RGB', (12, 12), (20*i,)*3) for i in range(n)]
    pages[0].save(file := io.BytesIO(), kind, save_all=True, append_images=pages[1:])
    return file.getvalue()[:-cut or None]

@pytest.mark.parametrize('kind', ['gif', 'tiff', 'webp', 'png'])
def test_pages_and_frames_after_the_first_are_said(place, tmp_path, kind):
    files = PETS | {f'dog/pug/{n} frames.{kind}': frames(kind, n) for n in (1, 2, 5)}
    data = image_tree(write(tmp_path/'pets', files), 8)
    assert data.notes == ['only the first page or frame is used of 2 of 43 images']
    assert data.images[data.files.index(f'dog/pug/5 frames.{kind}')].max() < 20

def test_a_damaged_second_page_leaves_the_first(place, tmp_path):
    files = PETS | {'dog/pug/cut.tiff': frames('tiff', 2, cut=100)}
    data = image_tree(write(tmp_path/'pets', files), 8)
    assert data.images[data.files.index('dog/pug/cut.tiff')].max() == 0

def leaves(command, *argv):
    with pytest.raises(SystemExit) as left: command([str(a) for a in argv])
    return left.value.code

def test_resvit_data_lists_every_class_and_draws_them(place, tmp_path, capsys):
    write(tmp_path/'pets', PETS)
    resvit_data.command(f"--data image_tree --data_dir {tmp_path/'pets'} --resolution 8 --sheet "
                        f"{tmp_path/'pets/sheet.png'}".split())
    said = capsys.readouterr().out.splitlines()
    assert said[:3] == ['bird (20): owl (10), wren (10)', 'dog (10): pug (10)', 'dog-house (10): kennel (10)']
    assert said[-1] == 'split own-8:1:1: train 32, valid 4, test 4'
    assert max(map(len, said)) <= 100 and Image.open(tmp_path/'pets/sheet.png').width == 900
    # its own sheet is no picture of a class
    resvit_data.command(f"--data image_tree --data_dir {tmp_path/'pets'} --resolution 8".split())
    assert 'left out: 1 image outside of a class (sheet.png)' in capsys.readouterr().out

@pytest.mark.parametrize('name', ['$x_{1}$', '鳥', '\\frac{', '100%', 'a & b'])
def test_names_on_the_sheet_are_letters(name, place, tmp_path):
    data = image_tree(write(tmp_path/'pets', PETS | {f'bird/{name}/{i}.png': picture(i) for i in range(9)}), 8)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        draw_sheet(data).savefig(io.BytesIO(), format='png')

def test_own_images_are_checked_before_anything_else(place, tmp_path, monkeypatch):
    def never(*args, **kwargs): raise AssertionError('trained')
    monkeypatch.setattr(runs, 'run', never)
    one_class, few = write(tmp_path/'one', {f'cat/{i}.png': picture(i) for i in range(20)}), write(tmp_path/'few',
        {n: c for n, c in PETS.items() if n[-5] in '12'})
    broken = write(tmp_path/'broken', PETS | {'bird/owl/x.png': b'not a picture'})
    for argv, message in ((('--data_dir', one_class), "data_dir '"), (('--data_dir', ''), "data_dir ''"),
                          (('--data', 'image_tree', '--data_dir', ''), "data_dir ''"),
                          (('--data', 'image_tree', '--data_dir', one_class),
                           'one: one superclass alone: expected at least two to tell apart'),
                          (('--data', 'image_tree', '--data_dir', few), 'has 2 images: too few to split 8:1:1'),
                          (('--data', 'image_tree', '--data_dir', broken), 'bird/owl/x.png: not a readable image'),
                          (('--data', 'image_tree', '--data_dir', tmp_path/'nowhere'),
                           'nowhere: folder or archive missing'),
                          (('--data', 'bird_dog_reptile', '--data_dir', broken),
                           'broken/train_data.csv: file missing')):
        said = leaves(runs.resvit_train.command, *argv, '--resolution', 8, '--image_size', 8, '--weights', 'imagenet',
                      '--results', tmp_path/'results')
        assert said.startswith('resvit_train: error: ') and message in said, said
    assert not (tmp_path/'results').exists()

@pytest.mark.parametrize('target', ['superclass', 'subclass'])
@pytest.mark.parametrize('levels', [1, 2])
def test_own_images_are_trained_on(target, levels, place, tmp_path, capsys):
    tree = write(tmp_path/'pets', PETS if levels==2 else {n.split('/', 1)[1]: c for n, c in PETS.items()})
    runs.resvit_train.command(f'--data image_tree --data_dir {tree} --target {target} --resolution 8 --image_size 8 '
                              f'--width 2 --epochs 1 --results {tmp_path}'.split())
    said = capsys.readouterr().out
    assert 'pets: 40 images of 8 x 8 px' in said
    assert said.index('split own-8:1:1: train 32, valid 4, test 4') < said.index('epoch 1/1')
    record = read_record(next(tmp_path.glob('image_tree-*.json')))
    assert (record.config.split, record.data['train'], record.data['classes']) == ('own-8:1:1', 32,
        3 if (target, levels)==('superclass', 2) else 4)

def test_another_edition_of_the_course_is_shown_beside_what_is_expected(place, tmp_path):
    folder = tmp_path/'2022'
    write(folder, {'super_classes_mapping.csv': b'index,class\n0,bird\n',
                   'sub_classes_mapping.csv': b'index,class\n0,owl\n', 'test_shuffle/0.jpg': picture(0),
                   'train_shuffle/17/0.jpg': picture(1)})
    said = leaves(resvit_data.command, '--data', 'bird_dog_reptile', '--data_dir', folder)
    for what in ('train_data.csv (image,superclass_index,subclass_index)',
                 'superclass_mapping.csv and subclass_mapping.csv (index,class)', 'train_images/',
                 'found sub_classes_mapping.csv, super_classes_mapping.csv, test_shuffle/, train_shuffle/',
                 'image_tree'): assert what in said
    assert '\n' not in said

def test_a_link_that_became_a_text_file(place, tmp_path):
    with pytest.raises(InputError,
                       match=r"bird/owl/x.jpg: not a readable image but the text '../../disk/0.jpg', as a link that "
                             r"was copied without what it leads to"):
        image_tree(write(tmp_path/'pets', PETS | {'bird/owl/x.jpg': b'../../disk/0.jpg\n'}), 8)

# ---- pictures that are fine
def chunk(name, content):
    return struct.pack('>I', len(content))+name+content+struct.pack('>I', zlib.crc32(name+content))

def png(*more, header=(8, 8, 8, 2), rows=(b'\0'+b'\x10\x20\x30'*8)*8, last=b''):
    width, height, depth, mode = header
    return b''.join([b'\x89PNG\r\n\x1a\n', chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, depth, mode, 0, 0, 0)),
                     *more, chunk(b'IDAT', zlib.compress(rows)), last, chunk(b'IEND', b'')])

noise = np.random.default_rng(0).integers(0, 256, 2_500_000, dtype=np.uint8).tobytes()
LARGE = {'compressed text': png(chunk(b'zTXt', b'k\0\0'+zlib.compress(bytes(9_000_000)))),
         'international text': png(chunk(b'iTXt', b'k\0\1\0\0\0'+zlib.compress(bytes(9_000_000)))),
         'colour profile': png(chunk(b'iCCP', b'k\0\0'+zlib.compress(noise))),
         'plain text': png(chunk(b'tEXt', b'k\0'+b'x'*70_000_000)),
         'text after the pixels': png(last=chunk(b'zTXt', b'k\0\0'+zlib.compress(bytes(9_000_000)))),
         'many texts': png(chunk(b'tEXt', b'k\0'+b'x'*10**6)*66)}

@pytest.mark.parametrize('content', LARGE.values(), ids=LARGE)
def test_large_texts_and_profiles_are_passed_over(content):
    assert decode_image(lambda: io.BytesIO(content), 8, 'it')[:, 3, 3].tolist() == [16, 32, 48]

SMALL_FAULTS = {'a profile that is none': png(chunk(b'iCCP', b'junk')),
                'a text with a wrong sum': png(chunk(b'tEXt', b'k\0text')).replace(b'k\0text', b'k\0test'),
                'EXIF data that are none': png(chunk(b'eXIf', b'junk')),
                'EXIF data that lead nowhere': png(chunk(b'eXIf', b'II*\0\xff\xff\xff\xff')),
                'more after its end': png()+b'more'*99}

@pytest.mark.parametrize('content', SMALL_FAULTS.values(), ids=SMALL_FAULTS)
def test_what_is_damaged_beside_the_pixels_is_passed_over(content):
    assert decode_image(lambda: io.BytesIO(content), 8, 'it')[:, 3, 3].tolist() == [16, 32, 48]

@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP', 'TIFF', 'GIF', 'BMP'])
@pytest.mark.parametrize('exif', [None, b'Exif\0\0II*\0\xff\xff\xff\xff'])
def test_half_a_picture_is_refused_whatever_its_EXIF_data(kind, exif):
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(9).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(file, kind,
        **(dict(exif=exif) if exif and kind in ('JPEG', 'WEBP') else {}))
    whole = file.getvalue()
    for share in (.3, .6, .9):
        with pytest.raises(InputError, match='it: not a readable image'):
            decode_image(lambda: io.BytesIO(whole[:int(share*len(whole))]), 8, 'it')

def test_transparent_colours_of_16_bits():
    def row(*values): return (b'\0'+struct.pack(f'>{len(values)}H', *values))*8
    grey = png(chunk(b'tRNS', struct.pack('>H', 0x1234)), header=(8, 8, 16, 0), rows=row(*[0x1234]*4, *[0x1235]*4))
    colour = png(chunk(b'tRNS', struct.pack('>3H', 0x1234, 0x5678, 0x9abc)), header=(8, 8, 16, 2),
                 rows=row(*[0x1234, 0x5678, 0x9abc]*4, *[0x4234]*12))
    black = png(chunk(b'tRNS', struct.pack('>H', 0)), header=(8, 8, 16, 0), rows=row(*[0]*4, *[0x8000]*4))
    for content, left, right in ((grey, [255]*3, [0x12]*3), (colour, [255]*3, [0x42]*3), (black, [255]*3, [0x80]*3)):
        decoded = decode_image(lambda: io.BytesIO(content), 8, 'it')
        assert (decoded[:, 4, 1].tolist(), decoded[:, 4, 6].tolist()) == (left, right)

@pytest.mark.parametrize('size', [(8192, 6144), (12_000, 9_000)])
def test_photographs_of_telephones(size):
    file = io.BytesIO()
    image = Image.new('RGB', size, (200, 40, 40)); image.paste((40, 40, 200), (0, 0, size[0]//2, size[1]))
    exif = Image.Exif(); exif[0x112] = 3    # upside down
    image.save(file, 'JPEG', exif=exif)
    decoded = decode_image(lambda: io.BytesIO(file.getvalue()), 8, 'it')
    assert abs(decoded[:, 4, 0].astype(int)-(200, 40, 40)).max() < 4
    assert abs(decoded[:, 4, 7].astype(int)-(40, 40, 200)).max() < 4

def test_larger_ones_are_refused_before_they_are_decoded(monkeypatch):
    monkeypatch.setattr(Image.Image, 'load', None)
    for size in ((11_000, 11_000), (60_000, 60_000)):
        with pytest.raises(InputError, match='it: image too large: expected at most 120,000,000 pixels'):
            decode_image(lambda: io.BytesIO(png(header=(*size, 1, 0))), 8, 'it')

@pytest.mark.parametrize('proxy', ['ALL_PROXY=socks4://me:secret@localhost:1', 'https_proxy=localhost:port',
                                   'HTTPS_PROXY=gopher://localhost'])
def test_a_proxy_that_nothing_can_speak_to(proxy, place, tmp_path, monkeypatch):
    name, value = proxy.split('=')
    monkeypatch.setenv(name, value); monkeypatch.setenv('HF_HUB_CACHE', str(tmp_path))
    for download in (lambda: cifar100(tmp_path/'cifar'), lambda: imagenet_file('resnet50', tmp_path)):
        with pytest.raises(InputError) as e: download()
        assert 'cannot be downloaded' in str(e.value) and f'the environment variable {name}' in str(e.value)
        assert 'secret' not in str(e.value)

def test_reproduce_reads_own_images_before_it_trains(place, tmp_path, monkeypatch, capsys):
    class Began(Exception): pass
    def begin(*args): raise Began
    monkeypatch.setattr(reproduce, 'train_missing', begin)
    monkeypatch.chdir(Path(__file__).parent.parent)
    whole, few = write(tmp_path/'pets', PETS), write(tmp_path/'few', {n: c for n, c in PETS.items() if n[-5] in '12'})
    def asked(*argv):
        return ('--profile', 'smoke', '--dataset', 'image_tree', '--out', tmp_path/'out', '--results',
                tmp_path/'results', *argv)
    for argv, message in (((), 'dataset image_tree: expected data_dir'),
                          (('--data_dir', ''), "data_dir '': expected a value"),
                          (('--data_dir', few), 'has 2 images: too few to split 3:1:6')):
        said = leaves(reproduce.resvit_reproduce.command, *asked(*argv))
        assert said.startswith('resvit_reproduce: error: ') and message in said
    capsys.readouterr()
    with pytest.raises(Began): reproduce.resvit_reproduce.command([str(a) for a in asked('--data_dir', whole)])
    assert 'split own-3:1:6: train 12, valid 4, test 24' in capsys.readouterr().out
    assert not (tmp_path/'out').exists() and not (tmp_path/'results').exists()

def test_own_images_take_the_place_of_a_profiles():
    for name, width in (('smoke', 8), ('quick', 16), ('paper', 64)):
        plan = make_plan('augmentation', name, 'image_tree')
        assert {(c.data, c.width, c.split) for c in plan.settings['with']} == {('image_tree', width, 'own-3:1:6')}
        assert {c.split for c in plan.settings['swapped']} == {'own-3:1:6-swap'} and plan.before[0].data == 'fractals'
        assert 'image_tree' in plan.title

def test_a_sheet_of_large_images_stays_small(tmp_path):
    data = image_tree(write(tmp_path/'pets', PETS), 200)
    drawn = draw_sheet(data, each=3).axes[0].images[0].get_array()
    assert drawn.shape == (64*len(data.subclasses), 3*64, 3)
    image = data.images[np.flatnonzero(data.subclass == 0)[0]]
    assert abs(drawn[:64, :64].mean((0, 1))-image.mean((1, 2))).max() < 2

def test_the_cache_can_be_read_by_others(tmp_path, monkeypatch):
    monkeypatch.setenv('RESVIT_CACHE', str(tmp_path/'cache'))
    before = os.umask(0o022)
    try: image_tree(write(tmp_path/'pets', PETS), 8)
    finally: os.umask(before)
    folder, = (tmp_path/'cache/images').iterdir()
    assert [oct(p.stat().st_mode & 0o777) for p in (folder, folder/'images.npy')] == ['0o755', '0o644']

def test_a_class_that_is_only_in_test_is_named_so(tmp_path):
    tree = {f'{part}/{n}': c for n, c in PETS.items() for part in ('train', 'test')}
    tree |= {f'test/fish/carp/{i}.png': picture(i) for i in range(7)}
    with pytest.raises(InputError, match="class 'carp' has no image in train, of 7 in all"):
        find_split('own-8:1:1')(image_tree(write(tmp_path/'pets', tree), 8))

@pytest.mark.parametrize('turn', range(1, 9))
@pytest.mark.parametrize('mode', ['RGB', 'L', 'RGBA'])
def test_a_turned_TIFF_is_the_same_by_path_and_from_memory(turn, mode, tmp_path):
    upright = Image.fromarray(np.random.default_rng(turn).integers(0, 256, (40, 60, 3), dtype=np.uint8)).convert(mode)
    upright.save(tmp_path/'a.tif', tiffinfo={274: turn})
    undone = {2: [0], 3: [3], 4: [1], 5: [5], 6: [4], 7: [6], 8: [2]}.get(turn, [])    # Pillow's names of turns
    for way in undone: upright = upright.transpose(Image.Transpose(way))
    expected = decode_picture(upright, 20)
    for file in (tmp_path/'a.tif', lambda: io.BytesIO((tmp_path/'a.tif').read_bytes())):
        assert np.array_equal(decode_image(file, 20, 'a.tif'), expected)

def test_memory_that_ends_is_not_the_pictures_fault(tmp_path, monkeypatch):
    def ended(*args): raise MemoryError
    (tmp_path/'a.png').write_bytes(picture(0))
    monkeypatch.setattr(pictures, 'to_rgb', ended)
    for file in (tmp_path/'a.png', lambda: io.BytesIO(picture(0))):
        with pytest.raises(MemoryError): decode_image(file, 8, 'a.png')

@pytest.mark.parametrize('error, said', [(PermissionError(13, 'Permission denied'),
                                          'cannot be read (Permission denied): expected permission there'),
                                          (OSError(24, 'Too many open files'), 'cannot be read (Too many open files)'),
                                         (FileNotFoundError(2, 'No such file'), 'damaged (FileNotFoundError)'),
                                         (ValueError(), 'damaged (ValueError)')])
def test_a_cached_set_that_may_not_be_read_is_not_called_damaged(error, said, tmp_path, monkeypatch):
    monkeypatch.setenv('RESVIT_CACHE', str(tmp_path)); fractals(n_per_subclass=1, resolution=8)
    def refuse(*args, **kwargs): raise error
    monkeypatch.setattr(pictures.np, 'load', refuse)
    with pytest.raises(InputError) as e: fractals(n_per_subclass=1, resolution=8)
    assert said in str(e.value) and ('Remove it' in str(e.value)) == ('damaged' in said)


# ---- folders named as parts
def many(folder, n=6, start=0):
    return {f'{folder}/{start+i}.png': picture(zlib.crc32(folder.encode()) % 9999+start+i) for i in range(n)}

@pytest.mark.parametrize('part', ['test', 'Valid', 'train', 'train_images'])
def test_a_class_named_as_a_part_is_a_class(part, place, tmp_path):
    data = read_both(tmp_path, many('boat')|many('plane')|many(part, 9))
    assert data.subclasses == sorted(['boat', 'plane', part])
    assert np.bincount(data.subclass).tolist() == [9 if s == part else 6 for s in data.subclasses]

@pytest.mark.parametrize('parts', [('val',), ('test', 'testing'), ('train', 'valid_images'), ('train', 'val', 'test')])
def test_parts_without_classes_are_none(parts, place, tmp_path):
    files = {k: v for p in parts for k, v in many(p).items()} | (many('boat') if len(parts) == 2 and 'train' in parts
        else {})
    with pytest.raises(InputError,
                       match=f'folder {sorted(parts)[0]} holds images itself: expected superclass/subclass/image, or '
                             f'{sorted(parts)[0]}/superclass/...'): image_tree(write(tmp_path/'pets', files), 8)

def test_parts_may_have_classes_named_as_parts(place, tmp_path):
    data = read_both(tmp_path, many('train/train', 9)|many('train/test', 9)|many('test/train')|many('test/test'))
    assert data.subclasses == ['test', 'train'] and np.bincount(data.part).tolist() == [18, 0, 12]

@pytest.mark.parametrize('train, others', [('train', {'test': 4}), ('Training', {'testing': 40}),
                                           ('train', {'val': 9, 'test': 30}), ('train_images', {'test_images': 2})])
@pytest.mark.parametrize('classes', [('fern', 'moss'), ('green/fern', 'green/moss', 'red/rose'),
                                     ('pictures/fern', 'pictures/moss')])
def test_train_alone_has_classes(train, others, classes, place, tmp_path):
    data = read_both(tmp_path, {k: v for c in classes for k, v in many(f'{train}/{c}').items()} | {k: v
        for o, n in others.items() for k, v in many(o, n).items()})
    assert data.part is None and len(data) == 6*len(classes)
    assert data.subclasses == sorted(c.split('/')[-1] for c in classes)
    assert data.superclasses == (['green', 'red'] if 'red/rose' in classes else data.subclasses)
    assert data.notes[0].startswith('train alone has classes')
    assert f'left out: {sum(others.values())} images outside of a class' in data.notes[-1]

@pytest.mark.parametrize('wrapper', ['photos', 'a/b'])
def test_folders_that_hold_all_of_a_part_are_no_class(wrapper, place, tmp_path):
    files = {n.replace('/', f'/{wrapper}/', 1): c for n, c in parted('train', 'val', 'test').items()}
    data, plain = read_both(tmp_path, files), image_tree(write(tmp_path/'plain', parted('train', 'val', 'test')), 8)
    assert (data.superclasses, data.subclasses, data.fingerprint) == (plain.superclasses, plain.subclasses,
        plain.fingerprint)

@pytest.mark.parametrize('few', [1, 5])
def test_a_few_pictures_higher_up_make_no_level(few, place, tmp_path):
    files = many('a_train/a_train/mountain')|many('a_train/a_train/street')
    files |= many('a_test/a_test/street')|many('a_more/a_more', few)
    with pytest.raises(InputError,
                       match='pets: a_test/a_test/street/0.png: images in more than two folders: expected '
                             'superclass/subclass/image; in a_test'): image_tree(write(tmp_path/'pets', files), 8)

# ---- more of what is read as it is
@pytest.mark.parametrize('second', [PETS, {'bird/owl/x.png': picture(1)}])
@pytest.mark.parametrize('first', [PETS, {}])
def test_archives_one_after_the_other_are_refused(first, second, place, tmp_path):
    both = tmp_path/'both.tar'
    both.write_bytes(pack(tmp_path/'1.tar', first).read_bytes()+pack(tmp_path/'2.tar', second).read_bytes())
    with pytest.raises(InputError,
                       match='both.tar: goes on after the end of an archive: expected one archive, not several in a '
                             'file'): image_tree(both, 8)
    both.write_bytes(pack(tmp_path/'1.tar', PETS).read_bytes()+bytes(5*2**20))
    assert len(list_archive(both)[0]) == len(PETS)

def test_an_archive_that_may_not_be_read_is_not_called_damaged(tmp_path, monkeypatch):
    def refuse(*args, **kwargs): raise PermissionError(13, 'Permission denied')
    path = pack(tmp_path/'a.tar', PETS)
    monkeypatch.setattr(listing.tarfile, 'open', refuse)
    with pytest.raises(InputError,
                       match='a.tar: cannot be read .Permission denied.: expected an archive that may be read$'):
        list_archive(path)

@pytest.mark.parametrize('added, n', [({'x.heic': b'x'}, 1), ({'more/1.png': picture(1), 'more/2.JPG': picture(2)}, 2),
                                      ({'notes.txt': b'x', '.DS_Store': b'x', '@eaDir/1.png': b'x'}, 1), ({}, 0)])
@pytest.mark.parametrize('moved', [0, 5])
def test_what_no_row_names_is_counted(added, n, moved, place, tmp_path):
    course = tmp_path/'course'; shutil.copytree(place/'course', course)
    (course/'train_images/deep').mkdir()
    for i in range(moved):
        shutil.move(course/f'train_images/{i}.png', course/f'train_images/deep/{i}.png'); edit('train_data.csv',
            f'\n{i}.png', f'\n./deep/{i}.png')(course)
    write(course/'train_images', added)
    os.symlink('nowhere', course/'train_images/gone.png'); os.symlink('deep', course/'train_images/too')
    assert bird_dog_reptile(course,
                            8).notes == [f'left out: files in train_images that no row of train_data.csv names ({n+2})']

def test_a_whole_path_in_a_table_is_called_one(place, tmp_path):
    course = tmp_path/'course'; shutil.copytree(place/'course', course)
    for given, said in ((course/'train_images/7.png', 'is a whole path: expected only what follows'),
                        (course/'train_images/../7.png', 'leaves the folder'), (tmp_path/'7.png', 'leaves the folder')):
        edit('train_data.csv', '7.png', str(given))(course)
        with pytest.raises(InputError) as e: bird_dog_reptile(course, 8)
        assert str(e.value).endswith(f'image {str(given)!r} {said} {course}/train_images')
        edit('train_data.csv', str(given), '7.png')(course)

def test_torchvisions_files_come_before_pictures_beside_them(tmp_path, monkeypatch):
    monkeypatch.setenv('RESVIT_CACHE', str(tmp_path/'cache'))
    names = [f'c{i}' for i in range(20)], [f'f{i:02}' for i in range(100)]
    told = write_pickles(tmp_path, np.zeros((100, 3, 32, 32), np.uint8), [(i//5, i) for i in range(100)],
                         [f'{i}.png' for i in range(100)], *names)
    write(tmp_path, {'docs/plots/loss.png': picture(1)})
    with patch.multiple(CIFAR100, **told):
        assert cifar100(tmp_path).subclasses == names[1] and len(read_others(tmp_path, 32)) == 100

@pytest.mark.parametrize('given, begun, stay', [('typo', False, []), ('a/b/typo', False, []), ('own', False, ['own']),
                                                ('new', True, ['new', 'new/part'])])
def test_a_download_that_fails_leaves_no_empty_folder(given, begun, stay, tmp_path, monkeypatch):
    class Fails:
        base_folder = CIFAR100.base_folder
        def __init__(self, root, download):
            root.mkdir(parents=True, exist_ok=True)
            if begun: (root/'part').touch()
            raise OSError('no network')
    monkeypatch.setattr('resvit_nb.sources.CIFAR100', Fails)
    if given == 'own': (tmp_path/'own').mkdir()
    with pytest.raises(InputError, match='CIFAR-100 is not there whole and cannot be downloaded'):
        cifar100(tmp_path/given, 32)
    assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob('*')) == stay

def test_a_sheet_of_an_earlier_day_is_replaced_and_a_plot_is_not(place, tmp_path):
    from matplotlib.figure import Figure
    source = str(write(tmp_path/'pets', PETS))
    Figure().savefig(tmp_path/'plot.png'); plot = (tmp_path/'plot.png').read_bytes()
    with pytest.raises(InputError, match='plot.png: there already, and not from this command'):
        resvit_data('image_tree', source, 8, str(tmp_path/'plot.png'))
    for resolution in (8, 16): resvit_data('image_tree', source, resolution, str(tmp_path/'sheet.png'))
    assert (tmp_path/'plot.png').read_bytes() == plot

@pytest.mark.parametrize('kind', ['image_tree', 'bird_dog_reptile', 'an archive'])
def test_a_sheet_takes_the_place_of_nothing_that_is_read(kind, place, tmp_path):
    source = dict(image_tree=lambda: write(tmp_path/'pets', PETS),
                  bird_dog_reptile=lambda: shutil.copytree(place/'course', tmp_path/'course')).get(kind,
                      lambda: pack(tmp_path/'pets.png', PETS))()
    file = {'image_tree': source/'dog/pug/2.png', 'bird_dog_reptile': source/'train_images/5.png'}.get(kind, source)
    os.symlink(file, tmp_path/'link.png'); before = file.read_bytes()
    for sheet in (file, tmp_path/'link.png'):
        with pytest.raises(InputError, match=f'sheet {sheet}: .*: expected another name'):
            resvit_data(kind if '_' in kind else 'image_tree', str(source), 8, str(sheet))
    assert file.read_bytes() == before
    if kind == 'image_tree':
        for _ in range(2): resvit_data(kind, str(source), 8, str(source/'sheet.png'))

def formed(form, text): return unicodedata.normalize(form, text)

@pytest.fixture
def own_course(place, tmp_path):
    "A copy of the course, to be changed"
    return Path(shutil.copytree(place/'course', place/'copies'/tmp_path.name/'course'))

@pytest.mark.parametrize('of_table, of_file', [('NFC', 'NFD'), ('NFD', 'NFC')])
def test_letters_and_accents_in_one_code_or_two(of_table, of_file, own_course, place):
    (own_course/'train_images'/formed(of_file, 'ñandú')).mkdir()
    (own_course/'train_images/3.png').rename(own_course/'train_images'/formed(of_file, 'ñandú/Å.png'))
    edit('train_data.csv', '3.png', formed(of_table, 'ñandú/Å.png '))(own_course)
    found = bird_dog_reptile(own_course, 8)
    assert found.fingerprint == bird_dog_reptile(place/'course', 8).fingerprint and found.notes == []

def test_two_rows_may_not_name_one_file_in_two_ways(own_course):
    (own_course/'train_images/3.png').rename(own_course/'train_images/é.png')
    edit('train_data.csv', '3.png', 'é.png')(own_course)
    edit('train_data.csv', '\n4.png', '\n'+formed('NFD', 'é.png'))(own_course)
    with pytest.raises(InputError, match='line 6: image .* again, as in line 5'): bird_dog_reptile(own_course)

def test_a_name_may_not_leave_the_folder_by_its_spaces(own_course):
    edit('train_data.csv', '3.png', '" ../../one.png"')(own_course)
    with pytest.raises(InputError, match='leaves the folder'): bird_dog_reptile(own_course)

@pytest.mark.parametrize('first, second, message', [
    ('Éland', formed('NFD', 'Éland'), 'again: expected'), ('ox', ' ox ', 'again: expected'), ('ox', 'Ox', None)])
def test_classes_of_a_course_that_people_take_for_one(first, second, message, own_course):
    path = own_course/'subclass_mapping.csv'
    lines = path.read_text('utf-8').split('\n')
    path.write_text('\n'.join([lines[0], f'0,{first}', f'1,"{second}"', *lines[3:]]), 'utf-8')
    if message is None: assert bird_dog_reptile(own_course, 8).notes[0].endswith("in capitals or spaces: 'Ox', 'ox'")
    else:
        with pytest.raises(InputError, match=message): bird_dog_reptile(own_course)

@pytest.mark.parametrize('old, new', [
    ('\n5.png', '\n,,,\n, ,\t,\n5.png'), ('image,superclass_index,', ' image , superclass_index,'),
    ('4.png,0,2,"a picture, drawn"', '4.png, 0 ,2 ,"a picture, drawn",, ')])
def test_what_spreadsheets_leave_in_a_table(old, new, own_course, place):
    edit('train_data.csv', old, new)(own_course)
    assert bird_dog_reptile(own_course, 8).fingerprint == bird_dog_reptile(place/'course', 8).fingerprint

@pytest.mark.parametrize('header, said', [
    ('Image,label', "column 'index' missing: expected columns index, class; found Image, label"),
    ('index;class', 'found index;class, with semicolons between them instead of commas'),
    ('index\tclass', 'with tabs between them instead of commas'), ('', 'found nothing')])
def test_a_header_that_is_none_is_shown(header, said, tmp_path):
    (tmp_path/'a.csv').write_text(f'{header}\n0,a\n', 'utf-8')
    with pytest.raises(InputError) as e: read_table(tmp_path/'a.csv', ('index', 'class'))
    assert said in str(e.value)

def test_empty_folders_are_named(place, tmp_path):
    folder = write(tmp_path/'more', PETS)
    for name in ('dog/poodle', 'fish', 'cat/a/b'): (folder/name).mkdir(parents=True)
    with tarfile.open(tmp_path/'more.tar', 'w') as tar: tar.add(folder, '.')
    for there in (folder, tmp_path/'more.tar'):
        assert [n for n in image_tree(there, 8).notes if 'empty' in n] == [
            'left out: 3 empty folders (cat/a/b, dog/poodle, fish)']

@pytest.mark.parametrize('name', ['\x1b[31mred.heic', 'a\rb.txt', 'ok\n.doc'])
def test_notes_do_not_steer_the_terminal(name, place, tmp_path, capsys):
    folder = write(tmp_path/'pets', PETS)
    (folder/'dog'/name).write_bytes(b'x')
    twin = folder/'dog/pug/3.png'
    for i in range(9): shutil.copy(twin, twin.with_name(f'\x1b[2J{i}.png'))
    resvit_data('image_tree', folder, 8)
    out = capsys.readouterr().out
    assert 'left out: 1 file of other kinds (' in out and ' pixel by pixel in train' in out
    assert all(printable(line) == line for line in out.split('\n'))

def test_a_sheet_says_what_it_leaves_out(place, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sources, 'MOST_ROWS', 5)
    resvit_data('fractals', sheet=str(tmp_path/'a.png'), resolution=8)
    assert f'sheet: {tmp_path}/a.png, with the first 5 of 87 subclasses\n' in capsys.readouterr().out
