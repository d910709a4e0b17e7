"What users, other people's files and full disks can do wrong: one line, exit status 1, and nothing written."
import io, os, pickle, resource, shutil, signal, struct, tarfile, tempfile, zipfile, zlib
from contextlib import contextmanager
from pathlib import Path
import nbformat, numpy as np, pytest, torch
from PIL import Image
from conftest import ROOT
from resvit_nb import pictures
from resvit_nb.core import InputError, console_script, printable, write_atomically
from resvit_nb.images import hierarchical_images
from resvit_nb.pictures import MAX_PIXELS, decode_image, decode_picture
from resvit_nb.course import bird_dog_reptile
from resvit_nb.trees import image_tree
from resvit_nb.sources import resvit_data
from resvit_nb.scores import summarise
from resvit_nb.config import RunConfig
from resvit_nb.records import Record, write_record
from resvit_nb.runs import resvit_train
from resvit_nb.execution import execute
from resvit_nb.site import LIST, files_in
from resvit_nb.reproduce import resvit_reproduce

CLASSES = dict(superclass=['bird', 'dog'], subclass=['wren', 'owl', 'pug', 'boxer'])


@pytest.fixture(autouse=True)
def limits(tmp_path, monkeypatch):
    "A cache of its own, and an end to every wait: a test that reads a pipe would hang"
    monkeypatch.setenv('RESVIT_CACHE', str(tmp_path/'cache'))
    def late(*_): raise AssertionError('hangs')
    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    yield
    signal.alarm(0); signal.signal(signal.SIGALRM, before)

def picture(i, size=(8, 8)):
    return Image.fromarray(np.random.default_rng(i).integers(0, 256, (*size[::-1], 3), dtype=np.uint8))

def write_course(folder, each=4):
    "A course folder: two superclasses of two subclasses, `each` images of every one"
    (folder/'train_images').mkdir(parents=True)
    for target, names in CLASSES.items():
        (folder/f'{target}_mapping.csv').write_text('\n'.join(['index,class',
                                                               *(f'{i},{n}' for i, n in enumerate(names))])+'\n',
                                                               'utf-8')
    rows = [f'{i}.png,{i%4//2},{i%4},"a picture, drawn"' for i in range(4*each)]
    (folder/'train_data.csv').write_text('\n'.join(['image,superclass_index,subclass_index,description', *rows])+'\n',
                                         'utf-8')
    for i in range(4*each): picture(i).save(folder/f'train_images/{i}.png')
    return folder

def write_tree(folder, each=4):
    "The same images as a tree of folders"
    for i in range(4*each):
        place = folder/CLASSES['superclass'][i%4//2]/CLASSES['subclass'][i%4]
        place.mkdir(parents=True, exist_ok=True)
        picture(i).save(place/f'{i}.png')
    return folder

def png(width, height, mode=2, depth=8, rows=b''):
    "A PNG file that says what it likes about its size"
    def chunk(name, content):
        return struct.pack('>I', len(content))+name+content+struct.pack('>I', zlib.crc32(name+content))
    return b'\x89PNG\r\n\x1a\n'+chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, depth, mode, 0, 0,
                                                           0))+chunk(b'IDAT', zlib.compress(rows))+chunk(b'IEND', b'')

def leaves(command, *argv):
    "What a command leaves with, which must be one printable line, or a number"
    with pytest.raises(SystemExit) as left: command([str(a) for a in argv])
    if isinstance(left.value.code, str): assert printable(left.value.code)==left.value.code
    return left.value.code

def made(cache):
    "What is in the cache, pictures in the making included"
    return [p for p in cache.rglob('*') if p.is_file() or p.parent.name=='images'] if cache.is_dir() else []

def refused(capfd, kind, folder, message, cache):
    "The command says `message` in one line, nothing else, and keeps nothing"
    said = leaves(resvit_data.command, '--data', kind, '--data_dir', folder)
    assert said.startswith('resvit_data: error: ') and message in said and len(said)<1100
    assert capfd.readouterr() == ('', '') and made(cache) == []
    return said

# What happens to a folder, as functions of it
def text(name, content): return lambda f: (f/name).write_text(content, 'utf-8')
def raw(name, content): return lambda f: (f/name).write_bytes(content)
def edit(name, old, new):
    def change(f):
        before = (f/name).read_bytes()
        assert old.encode() in before
        (f/name).write_bytes(before.replace(old.encode(), new.encode() if isinstance(new, str) else new, 1))
    return change
def gone(name): return lambda f: shutil.rmtree(f/name) if (f/name).is_dir() else (f/name).unlink()
def instead(name, make):
    def change(f):
        gone(name)(f)
        make(f/name)
    return change
def saved(name, image, **kwargs): return lambda f: image.save(f/name, **kwargs)
def linked(to): return lambda p: p.symlink_to(to)
def outside(p):
    picture(0).save(p.parents[2]/'outside.png')
    p.symlink_to(p.parents[2]/'outside.png')
TABLE, SUB, ONE = 'train_data.csv', 'subclass_mapping.csv', 'train_images/3.png'    # 3.png is in line 5

COURSE = {
    # the table and the mappings
    'table missing': (gone(TABLE), 'train_data.csv: file missing'),
    'table is a folder': (instead(TABLE, Path.mkdir), 'train_data.csv: file missing'),
    'table is a pipe': (instead(TABLE, os.mkfifo), 'train_data.csv: file missing'),
    'table is a loop of links': (instead(TABLE, linked(TABLE)), 'train_data.csv: file missing'),
    'table empty': (text(TABLE, ''), "train_data.csv: column 'image' missing"),
    'table only a header': (text(TABLE, 'image,superclass_index,subclass_index\n'),
                            'train_data.csv: no row below the header'),
    'table only blank lines': (text(TABLE, '\n\n\n'), "column 'image' missing"),
    'table in UTF-16': (raw(TABLE, 'image,superclass_index\n'.encode('utf-16')),
                        'train_data.csv: not a text file: expected CSV in UTF-8'),
    'table in Latin-1': (edit(TABLE, 'drawn', b'gen\xe9'), 'train_data.csv: not a text file'),
    'NUL': (edit(TABLE, '3.png', '3\0.png'), 'train_data.csv: not a text file'),
    'quote left open': (edit(TABLE, 'drawn"\n4.png', 'drawn\n4.png'), 'train_data.csv, from line 5 on: '),
    'last quote left open': (edit(TABLE, '15.png,1,3,"a picture, drawn"', '15.png,1,3,"a picture, drawn'),
                             'train_data.csv, from line 17 on: unexpected end of data: expected CSV, with every quote '
                             'closed'),
    'field of a megabyte': (edit(TABLE, 'drawn', 'x'*10**6),
                            'train_data.csv, from line 2 on: field larger than field limit'),
    'name of 100,000 letters': (edit(TABLE, '3.png', 'x'*10**5), 'image missing'),
    'column twice': (edit(TABLE, 'description', 'image'), "train_data.csv: column 'image' twice"),
    'too many fields': (edit(TABLE, '"a picture, drawn"', 'a picture, drawn'),
                        'train_data.csv, line 2: more fields than the 4 columns'),
    'too few fields': (edit(TABLE, '3.png,1,3,', '3.png,1\n'),
                       "train_data.csv, line 5: column 'subclass_index' is empty"),
    'no label': (edit(TABLE, '3.png,1,3', '3.png,1, '), "train_data.csv, line 5: column 'subclass_index' is empty"),
    'no name': (edit(TABLE, '3.png,1', ',1'), "train_data.csv, line 5: column 'image' is empty"),
    'same image twice': (edit(TABLE, '3.png', '2.png'),
                         "train_data.csv, line 5: image '2.png' again, as in line 4: expected each image once"),
    'same image by another name': (edit(TABLE, '3.png', './/2.png'), "image './/2.png' again, as in line 4"),
    'name only in another case': (edit(TABLE, '3.png', '3.PNG'), 'train_data.csv, line 5: 3.PNG: image missing'),
    **{f'label {v!r:.12}': (edit(TABLE, '3.png,1,3', f'3.png,1,{v}'),
                            f"train_data.csv, line 5: subclass_index '{v:.20}")
        for v in ('3.0', '-1', '+1', '1_0', '0x1', '٣', 'nan', '1e3', '9'*30, '9'*5000, 'pug', '1 2')},
    'label too large': (edit(TABLE, '3.png,1,3', '3.png,1,4'),
                        'line 5: subclass_index 4 out of range: expected one of the 4 numbers from 0 to 3 in the '
                        'mapping'),
    'two parents': (edit(TABLE, '3.png,1,3', '3.png,0,3'), "subclass 'boxer' belongs to 'bird' and 'dog'"),
    'class without image': (edit(SUB, '3,boxer', '3,boxer\n4,poodle'), "class 'poodle' has no image"),
    'mapping missing': (gone(SUB), 'subclass_mapping.csv: file missing'),
    'mapping empty': (text(SUB, 'index,class\n'), 'subclass_mapping.csv: no row below the header'),
    'mapping of novel only': (text(SUB, 'index,class\n0,novel\n'), 'subclass_mapping.csv: no class but novel'),
    'number twice': (edit(SUB, '3,boxer', '2,boxer'),
                     "subclass_mapping.csv, line 5: 2 'boxer' again: expected each number and each class once"),
    'class twice': (edit(SUB, '3,boxer', '3,pug'), "subclass_mapping.csv, line 5: 3 'pug' again"),
    'comma without quotes': (edit(SUB, '3,boxer', '3,boxer, brown'),
                             'subclass_mapping.csv, line 5: more fields than the 2 columns'),
    'line feed in a class': (edit(SUB, '3,boxer', '3,"box\ner"'),
                             r"class 'box\ner': expected a name that can be printed"),
    'escape in a class': (edit(SUB, '3,boxer', '3,box\x1b[2Jer'),
                          r"class 'box\x1b[2Jer': expected a name that can be printed"),
    'class without name': (edit(SUB, '3,boxer', '3," "'), "subclass_mapping.csv, line 5: column 'class' is empty"),
    'negative number': (edit(SUB, '3,boxer', '-3,boxer'), "index '-3': expected an integer of at least 0"),
    # where an image may be
    'absolute path': (edit(TABLE, '3.png', '/etc/passwd'),
                      "line 5: /etc/passwd: image '/etc/passwd' leaves the folder"),
    'path upwards': (edit(TABLE, '3.png', '../../outside.png'), "image '../../outside.png' leaves the folder"),
    'path up and down': (edit(TABLE, '3.png', 'a/../3.png'), 'leaves the folder'),
    'link out of the folder': (instead(ONE, outside), 'line 5: 3.png: a link that leaves the folder'),
    'link to nowhere': (instead(ONE, linked('nowhere.png')), 'line 5: 3.png: image missing'),
    'link to itself': (instead(ONE, linked('3.png')), 'line 5: 3.png: image missing'),
    'image is a folder': (instead(ONE, Path.mkdir), 'line 5: 3.png: not a file'),
    'image is a pipe': (instead(ONE, os.mkfifo),
                        'line 5: 3.png: not a file: expected an image, found a folder, pipe or device'),
    'image is a device': (instead(ONE, linked('/dev/zero')), 'line 5: 3.png: not a file'),
    'image missing': (gone(ONE), 'line 5: 3.png: image missing'),
    'name with a line feed': (edit(TABLE, '3.png', '"3\n.png"'), r'line 6: 3\n.png: image missing'),
    'name too long': (edit(TABLE, '3.png', 'x'*300), 'image missing'),
    'no folder of images': (gone('train_images'), 'course/train_images: folder missing: expected train_data.csv'),
    # what may be in it
    'zero bytes': (raw(ONE, b''), 'line 5: 3.png: not a readable image'),
    'text': (raw(ONE, b'GIF89a, said the text'), 'line 5: 3.png: not a readable image'),
    'truncated PNG': (lambda f: os.truncate(f/ONE, 100), 'line 5: 3.png: not a readable image'),
    'PNG without pixels': (raw(ONE, png(8, 8)), 'line 5: 3.png: not a readable image'),
    'PNG with a byte changed': (
        lambda f: (f/ONE).write_bytes((b := (f/ONE).read_bytes())[:60]+bytes([b[60]^255])+b[61:]),
        'line 5: 3.png: not a readable image'),
    'empty and large, below where Pillow warns': (raw(ONE, png(8_000, 11_180)), 'line 5: 3.png: not a readable image'),
    'bomb where Pillow warns': (raw(ONE, png(10_000, 12_001)),
                                'line 5: 3.png: image too large: expected at most 120,000,000 pixels'),
    'bomb where Pillow refuses': (raw(ONE, png(50_000, 50_000)),
                                  'line 5: 3.png: image too large: expected at most 120,000,000 pixels'),
    'bomb of text in a PNG': (raw(ONE, png(8, 8)[:33]+(lambda c: struct.pack('>I', len(c)-4)+c+struct.pack('>I',
        zlib.crc32(c)))(b'zTXta\0\0'+zlib.compress(bytes(10**8)))+png(8, 8)[33:]), 'not a readable image'),
    'floats': (saved(ONE, Image.new('F', (8, 8)), format='TIFF'),
               'line 5: 3.png: not a readable image (mode F: expected 8 or 16 bits a channel)'),
    'a format that runs programs': (raw(ONE,
                                        b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n'),
                                        'line 5: 3.png: not a readable image'),
}

@pytest.mark.parametrize('change, message', COURSE.values(), ids=COURSE)
def test_course_folder(change, message, tmp_path, capfd):
    folder = write_course(tmp_path/'course')
    change(folder)
    refused(capfd, 'bird_dog_reptile', folder, message, tmp_path/'cache')

def test_a_folder_that_is_none(tmp_path, capfd):
    (tmp_path/'file').touch(); os.mkfifo(tmp_path/'pipe')
    for kind, message in (('bird_dog_reptile', 'folder missing: expected train_data.csv'),
                          ('image_tree', 'folder or archive missing')):
        for name in ('nowhere', 'pipe'): refused(capfd, kind, tmp_path/name, f'{name}: {message}', tmp_path/'cache')
    refused(capfd, 'bird_dog_reptile', tmp_path/'file', 'file: folder missing', tmp_path/'cache')
    refused(capfd, 'image_tree', tmp_path/'file', 'file: not an uncompressed tar archive', tmp_path/'cache')

FINE = {
    'byte order mark': lambda f: (f/TABLE).write_bytes(b'\xef\xbb\xbf'+(f/TABLE).read_bytes()),
    'CRLF': lambda f: [p.write_bytes(p.read_bytes().replace(b'\n', b'\r\n')) for p in f.glob('*.csv')],
    'blank lines': lambda f: [p.write_bytes(p.read_bytes().replace(b'\n', b'\n\n')) for p in f.glob('*.csv')],
    'no last line feed': lambda f: [p.write_bytes(p.read_bytes().rstrip()) for p in f.glob('*.csv')],
    'columns in another order, and more': lambda f: (f/TABLE).write_text('\n'.join(','.join([r[2], 'x', *r[:2]])
        for r in (l.split(',') for l in (f/TABLE).read_text('utf-8').splitlines())), 'utf-8'),
    'spaces around labels': edit(TABLE, '3.png,1,3', '3.png, 1 ,3 '),
    'novel': edit(SUB, '3,boxer', '3,boxer\n9,novel'),
    'link within the folder': lambda f: ((f/ONE).rename(f/'train_images/three.png'), (f/ONE).symlink_to('three.png')),
    'hard link': lambda f: ((f/'elsewhere').mkdir(), os.link(f/ONE, f/'elsewhere/3.png'), (f/ONE).unlink(),
                            os.link(f/'elsewhere/3.png', f/ONE)),
    'images behind a link': lambda f: ((f/'train_images').rename(f.parent/'disk'),
                                       (f/'train_images').symlink_to(f.parent/'disk')),
    'other names': lambda f: [((f/ONE).rename(f/'train_images'/n), edit(TABLE, '3.png', f'"{n}"')(f))
                              for n in ['鳥 é\n3.png']],
}

@pytest.mark.parametrize('change', FINE.values(), ids=FINE)
def test_what_is_odd_but_fine(change, tmp_path):
    plain = bird_dog_reptile(write_course(tmp_path/'plain'), 8)
    folder = write_course(tmp_path/'course')
    change(folder)
    read = bird_dog_reptile(folder, 8)
    assert read.fingerprint == plain.fingerprint and read.subclasses == CLASSES['subclass']

TREE = {
    'empty': (lambda f: [shutil.rmtree(p) for p in f.iterdir()],
              'no image found: expected superclass/subclass/*.png or *.jpg'),
    'too flat': (lambda f: [(shutil.rmtree(p), picture(0).save(f'{p}.png')) for p in f.iterdir()],
                 'bird.png: images in no folder: expected superclass/subclass/image'),
    'folder behind a link': (lambda f: (f/'dog').rename(f.parent/'dog') and (f/'dog').symlink_to(f.parent/'dog'),
                             'dog: a link to a folder: expected the folder itself'),
    'image behind a link': (lambda f: (picture(0).save(f.parent/'0.png'),
                                       (f/'dog/pug/x.png').symlink_to(f.parent/'0.png')),
                                       'x.png: a link that leaves the folder'),
    'pipe': (lambda f: os.mkfifo(f/'dog/pug/x.png'), 'x.png: not a file'),
    'folder named like an image': (lambda f: (f/'dog/pug/x.png').unlink(missing_ok=True)
                                   or os.symlink('/dev/zero', f/'dog/pug/x.png'), 'x.png: not a file'),
    'truncated': (lambda f: os.truncate(f/'dog/pug/2.png', 60), 'dog/pug/2.png: not a readable image'),
    'line feed in a class': (lambda f: (f/'dog/pug').rename(f/'dog/pu\ng'), "expected a name that can be printed"),
    'class that is no text': (lambda f: os.rename(os.fsencode(f/'dog/pug'), os.fsencode(f/'dog')+b'/p\xffg'),
                              "expected a name that can be printed"),
    'two parents': (lambda f: (f/'bird/pug').mkdir() or picture(0).save(f/'bird/pug/0.png'),
                    "subclass 'pug' belongs to 'bird' and 'dog'"),
}

@pytest.mark.parametrize('change, message', TREE.values(), ids=TREE)
def test_tree_of_folders(change, message, tmp_path, capfd):
    folder = write_tree(tmp_path/'tree')
    change(folder)
    refused(capfd, 'image_tree', folder, message, tmp_path/'cache')

def test_a_pipe_beside_the_images_is_nobodys_business(tmp_path):
    folder = write_tree(tmp_path/'tree')
    os.mkfifo(folder/'dog/pug/pipe')
    assert len(image_tree(folder, 8)) == 16

@pytest.fixture
def nobody(tmp_path):
    "Somebody who may not do everything"
    if os.geteuid(): yield; return
    place = tmp_path
    while place != Path(tempfile.gettempdir()) and place != place.parent: place.chmod(0o755); place = place.parent
    os.seteuid(65534)
    yield
    os.seteuid(0)

def test_folder_without_permission(tmp_path, capfd, request):
    folder = write_tree(tmp_path/'tree')
    (folder/'dog').chmod(0)
    request.getfixturevalue('nobody')
    try: refused(capfd, 'image_tree', folder, 'dog: folder cannot be read (Permission denied)', tmp_path/'cache')
    finally:
        if not os.getuid(): os.seteuid(0)
        (folder/'dog').chmod(0o755)

def member(name, content=b'', kind=tarfile.REGTYPE, to='', **headers):
    m = tarfile.TarInfo(name)
    m.size, m.type, m.linkname, m.pax_headers = len(content), kind, to, headers
    return m, io.BytesIO(content)

ONE_PNG = png(8, 8, rows=(b'\0'+bytes(24))*8)
TAR = {
    'path upwards': (member('../a/b/x.png', ONE_PNG), "image '../a/b/x.png' leaves the folder"),
    'absolute path': (member('/a/b/x.png', ONE_PNG), "image '/a/b/x.png' leaves the folder"),
    'link': (member('tree/dog/pug/x.png', kind=tarfile.SYMTYPE, to='/etc/passwd'),
             'x.png is a link, device or sparse file'),
    'hard link out of it': (member('tree/dog/pug/x.png', kind=tarfile.LNKTYPE, to='../tree/dog/pug/2.png'),
                            'x.png is a link, device or sparse file'),
    'hard link to itself': (member('tree/dog/pug/x.png', kind=tarfile.LNKTYPE, to='tree/dog/pug/x.png'),
                            'x.png is a link, device or sparse file'),
    'pipe': (member('tree/dog/pug/x.png', kind=tarfile.FIFOTYPE), 'x.png is a link, device or sparse file'),
    'device': (member('tree/dog/pug/x.png', kind=tarfile.CHRTYPE), 'x.png is a link, device or sparse file'),
    'folder': (member('tree/dog/pug/x.png', kind=tarfile.DIRTYPE), 'x.png is a link, device or sparse file'),
    'sparse': (member('tree/dog/pug/x.png', kind=tarfile.GNUTYPE_SPARSE), 'x.png is a link, device or sparse file'),
    'twice': (member('tree/dog/pug/2.png', ONE_PNG), 'an image is in the archive twice'),
    'zero bytes': (member('tree/dog/pug/x.png'), 'x.png: not a readable image'),
    'time that is no number': (member('tree/dog/pug/x.png', ONE_PNG, mtime='nan'),
                               'not an uncompressed tar archive, or damaged'),
    'size that is no number': (member('tree/dog/pug/x.png', ONE_PNG, size='many'),
                               'not an uncompressed tar archive, or damaged'),
    'line feed in a class': (member('tree/dog/p\ng/x.png', ONE_PNG), 'expected a name that can be printed'),
}

def write_tar(folder, *members, mode='w'):
    "An archive of a tree, with further members"
    with tarfile.open(folder.parent/'tree.tar', mode, format=tarfile.PAX_FORMAT) as tar:
        tar.add(folder, 'tree')
        for m, content in members: content.seek(0); tar.addfile(m, content)
    return folder.parent/'tree.tar'

@pytest.mark.parametrize('more, message', TAR.values(), ids=TAR)
def test_archive(more, message, tmp_path, capfd):
    refused(capfd, 'image_tree', write_tar(write_tree(tmp_path/'tree'), more), message, tmp_path/'cache')

def test_a_file_of_several_names_is_in_an_archive_once(tmp_path):
    folder = write_tree(tmp_path/'tree')
    for name in ('0.png', 'x.png', 'y.png'): os.link(folder/'dog/boxer/3.png', folder/f'dog/boxer/{name}')
    with tarfile.open(archive := write_tar(folder)) as tar: assert sum(m.islnk() for m in tar) == 3
    assert image_tree(archive, 8).fingerprint == image_tree(folder, 8).fingerprint

def test_archive_that_is_none(tmp_path, capfd):
    folder = write_tree(tmp_path/'tree')
    whole = write_tar(folder).read_bytes()
    def refuse(content, message='not an uncompressed tar archive'):
        (tmp_path/'bad.tar').write_bytes(content)
        refused(capfd, 'image_tree', tmp_path/'bad.tar', message, tmp_path/'cache')
    refuse(b''); refuse(b'\0'*511); refuse(b'x'*10240)
    refuse(whole[:whole.index(b'IHDR')+20]); refuse(whole[:3000])
    refuse(write_tar(folder, mode='w:gz').read_bytes())
    refuse(bytes(10240), 'no image found')
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, 'w') as z: z.writestr('a/b/c.png', ONE_PNG)
    refuse(zipped.getvalue())

def test_archive_and_folder_are_the_same_whatever_the_names(tmp_path):
    folder = write_tree(tmp_path/'tree')
    (folder/'dog/pug/2.png').rename(folder/'dog/pug/Zwölf 鳥\n.png')
    assert image_tree(write_tar(folder), 8).fingerprint == image_tree(folder, 8).fingerprint


# ---- pictures of all kinds
GREEN = (0, 255, 0)
def transparent_palette():
    p = Image.new('P', (8, 8), 1); p.putpalette([255, 0, 0, *GREEN])
    return p
def animation():
    return dict(save_all=True, append_images=[Image.new('RGB', (8, 8), 'red')])
KINDS = {
    'grey': (Image.new('L', (8, 8), 7), 'PNG', {}, (7, 7, 7)),
    'black and white': (Image.new('1', (8, 8), 1), 'PNG', {}, (255, 255, 255)),
    '16 bit grey': (Image.fromarray(np.full((8, 8), 0x1234, np.uint16)), 'PNG', {}, (0x12,)*3),
    '16 bit grey TIFF': (Image.fromarray(np.full((8, 8), 0x1234, np.uint16)), 'TIFF', {}, (0x12,)*3),
    'CMYK': (Image.new('CMYK', (8, 8), (255, 0, 255, 0)), 'TIFF', {}, GREEN),
    'palette': (transparent_palette(), 'PNG', {}, GREEN),
    'palette with transparency': (transparent_palette(), 'PNG', dict(transparency=1), (255, 255, 255)),
    'grey with transparency': (Image.new('LA', (8, 8), (0, 0)), 'PNG', {}, (255, 255, 255)),
    'half transparent': (Image.new('RGBA', (8, 8), (0, 0, 0, 127)), 'PNG', {}, (128, 128, 128)),
    'animated GIF': (Image.new('RGB', (8, 8), GREEN), 'GIF', animation(), GREEN),
    'animated PNG': (Image.new('RGB', (8, 8), GREEN), 'PNG', animation(), GREEN),
    'animated WebP': (Image.new('RGB', (8, 8), GREEN), 'WEBP', animation() | dict(lossless=True), GREEN),
    'one pixel': (Image.new('RGB', (1, 1), GREEN), 'PNG', {}, GREEN),
    'a line': (Image.new('RGB', (20_000, 1), GREEN), 'PNG', {}, GREEN),
}

@pytest.mark.parametrize('image, kind, options, colour', KINDS.values(), ids=KINDS)
def test_every_kind_of_picture(image, kind, options, colour, tmp_path):
    image.save(tmp_path/'it.png', kind, **options)
    decoded = decode_image(tmp_path/'it.png', 8, 'it')
    assert decoded.shape == (3, 8, 8) and decoded.dtype == np.uint8
    assert [tuple(decoded[:, y, x]) for y, x in ((0, 0), (4, 4), (7, 7))] == [colour]*3

def tiff(samples, bits, colours, order='<', planes=False, squeeze=False, tags=()):
    "A TIFF file of samples (H, W, C), as a camera or a microscope writes it; Pillow writes none of these kinds"
    def packed(rows):
        if bits != 12: return rows.astype(f'{order}u{bits//8}').tobytes()
        digits = [''.join(f'{v:012b}' for v in row) for row in rows]    # each row begins with a byte
        return b''.join(int(d.ljust(-len(d)//8*-8, '0'), 2).to_bytes(-(-len(d)//8)) for d in digits)
    h, w, n = samples.shape
    parts = [samples[:, :, k] for k in range(n)] if planes else [samples.reshape(h, w*n)]
    strips = [zlib.compress(packed(p)) if squeeze else packed(p) for p in parts]
    starts = np.cumsum([8, *map(len, strips)]).tolist()
    entries = {256: [w], 257: [h], 258: [bits]*n, 259: [8 if squeeze else 1], 262: [colours], 273: starts[:-1],
               277: [n], 278: [h], 279: [*map(len, strips)], 284: [1+planes], **dict(tags)}
    table, after = struct.pack(f'{order}H', len(entries)), b''
    for tag, values in sorted(entries.items()):
        kind = 4 if tag in (273, 279) else 3
        content = struct.pack(f'{order}{len(values)}{"H" if kind == 3 else "I"}', *values)
        if len(content) > 4:
            at = starts[-1]+2+12*len(entries)+4+len(after)
            after, content = after+content, struct.pack(f'{order}I', at)
        table += struct.pack(f'{order}HHI', tag, kind, len(values))+content.ljust(4, b'\0')
    head = (b'II*\0' if order == '<' else b'MM\0*')+struct.pack(f'{order}I', starts[-1])
    return head+b''.join(strips)+table+bytes(4)+after

TIFFS = {    # bits, colours (0: white is 0, 1: grey, 2: RGB, 5: CMYK, 6: YCbCr), samples, and how they are written
    '12 bits': (12, 1, 1, {}), '12 bits, compressed': (12, 1, 1, dict(squeeze=True)), '16 bits': (16, 1, 1, {}),
    '16 bits from white': (16, 0, 1, {}), '16 bits from white, compressed': (16, 0, 1, dict(squeeze=True)),
    '8 bits from white': (8, 0, 1, dict(order='>')), '16 bits, big-endian': (16, 1, 1, dict(order='>')),
    'planes': (8, 2, 3, dict(planes=True)), '16 bits a colour': (16, 2, 3, dict(order='>')),
    '16 bits in planes, compressed': (16, 2, 3, dict(planes=True, squeeze=True))}

@pytest.mark.parametrize('bits, colours, n, how', TIFFS.values(), ids=TIFFS)
def test_tiff_files_have_the_pixels_that_were_meant(bits, colours, n, how):
    samples = np.random.default_rng(bits).integers(0, 2**bits, (9, 9, n))
    wanted = np.broadcast_to(samples >> bits-8, (9, 9, 3)).transpose(2, 0, 1)
    content = tiff(samples, bits, colours, **how)
    opened = Image.open(io.BytesIO(content))
    for found in (decode_image(lambda: io.BytesIO(content), 9, 'a'), decode_picture(opened, 9)):
        assert np.array_equal(found, wanted if colours else 255-wanted)

MISREAD = {'16 bits in planes': (16, 2, 3, dict(planes=True), 'one colour after the other, uncompressed'),
           'CMYK in planes': (16, 5, 4, dict(planes=True, order='>'), 'one colour after the other, uncompressed'),
           'a plane from white': (8, 0, 1, dict(planes=True), 'one colour after the other, uncompressed'),
           'signed': (8, 1, 1, dict(tags={339: [2]}), 'signed pixels'),
           'shared colours': (8, 6, 3, {}, 'a colour for several pixels, uncompressed')}

@pytest.mark.parametrize('bits, colours, n, how, what', MISREAD.values(), ids=MISREAD)
def test_tiff_files_that_pillow_takes_for_others_are_refused(bits, colours, n, how, what):
    content = tiff(np.zeros((8, 8, n), int), bits, colours, **how)
    with pytest.raises(InputError, match=f'a: not a readable image .TIFF of {what}: expected another kind'):
        decode_image(lambda: io.BytesIO(content), 8, 'a')
    loaded = Image.open(io.BytesIO(content)); loaded.load()
    with pytest.raises(InputError, match=f'TIFF of {what}'): decode_picture(loaded, 8)

def test_16_bit_colour(tmp_path):
    (tmp_path/'it.png').write_bytes(png(4, 4, depth=16, rows=(b'\0'+b'\x12\x34\x56\x78\x9a\xbc'*4)*4))
    assert decode_image(tmp_path/'it.png', 8, 'it')[:, 0, 0].tolist() == [0x12, 0x56, 0x9a]

@pytest.mark.parametrize('turn', range(1, 9))
def test_pictures_are_turned_as_their_camera_was(turn, tmp_path):
    upright = np.zeros((8, 8), np.uint8); upright[0] = 255; upright[:, 0] = 128      # the top white, the left grey
    stored = {1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud, 5: np.transpose,
              6: lambda a: np.rot90(a, 1), 7: lambda a: np.rot90(a, 2).T, 8: lambda a: np.rot90(a, -1)}[turn](upright)
    exif = Image.Exif(); exif[0x112] = turn
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path/'it.png', exif=exif)
    assert (decode_image(tmp_path/'it.png', 8, 'it')[0] == upright).all()

@pytest.mark.parametrize('exif', [b'Exif\0\0', b'Exif\0\0II*\0', b'Exif\0\0'+b'\xff'*40,
                                  b'Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01',
                                  b'Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x63\0\0'], ids=range(5))
def test_damaged_exif_is_no_reason_to_lose_a_picture(exif, tmp_path, capfd):
    folder = write_tree(tmp_path/'tree')
    Image.new('RGB', (8, 8), GREEN).save(folder/'bird/owl/0.jpg', exif=exif, quality=100)
    assert abs(image_tree(folder, 8).images[0, :, 0, 0].astype(int)-GREEN).max() < 4
    assert capfd.readouterr() == ('', '')

def test_pixels_are_counted_before_they_are_decoded(tmp_path, monkeypatch):
    (tmp_path/'it.png').write_bytes(png(10_000, MAX_PIXELS//10_000+1))
    monkeypatch.setattr(Image.Image, 'load', None)
    with pytest.raises(InputError, match='too large'): decode_image(tmp_path/'it.png', 8, 'it')

@pytest.mark.parametrize('images, superclass, message', [
    (np.zeros((2, 3, 8, 8), np.float32), [0, 1], r'images float32 \(2, 3, 8, 8\): expected uint8'),
    (np.zeros((2, 8, 8, 3), np.uint8), [0, 1], 'expected uint8'),
    (np.zeros((2, 3, 8, 8), np.uint8), [0, 1, 1], r'superclass int64 \(3,\): expected integers \(2,\)'),
    (np.zeros((2, 3, 8, 8), np.uint8), [.5, 1], 'superclass float64'),
    (np.zeros((2, 3, 8, 8), np.uint8), [0, -1], 'label -1 out of range: expected 0 to 1')])
def test_wrong_arrays(images, superclass, message):
    with pytest.raises(InputError, match=message):
        hierarchical_images(images, superclass, [0, 1], ['a', 'b'], ['c', 'd'], '')


# ---- the cache and the disk
def test_damaged_cache_is_named_and_left_alone(tmp_path, capfd):
    folder = write_course(tmp_path/'course')
    place = Path(bird_dog_reptile(folder, 32).images.filename).parent
    for name, damage in {'images.npy': b'', 'labels.npz': b'PK', 'meta.json': b'{"name": 3}'}.items():
        for content in (damage, (place/name).read_bytes()[:-7], None):
            kept = (place/name).read_bytes()
            (place/name).unlink()
            if content is not None: (place/name).write_bytes(content)
            said = leaves(resvit_data.command, '--data', 'bird_dog_reptile', '--data_dir', folder)
            assert f'{place}: damaged (' in said
            assert said.endswith('expected it as it was written. Remove it, and it is made again')
            assert (place/name).exists() == (content is not None)
            (place/name).write_bytes(kept)
    # objects are pickled
    np.savez(place/'labels.npz', superclass=np.zeros(3, int), subclass=np.array([{}], object), parent=0)
    assert 'damaged (ValueError)' in leaves(resvit_data.command, '--data', 'bird_dog_reptile', '--data_dir', folder)
    shutil.rmtree(place)
    assert len(bird_dog_reptile(folder, 32)) == 16

def test_cache_folder_that_is_a_file(tmp_path, capfd):
    folder = write_course(tmp_path/'course')
    (tmp_path/'cache').write_text('mine', 'utf-8')
    said = leaves(resvit_data.command, '--data', 'bird_dog_reptile', '--data_dir', folder)
    assert ('cannot be written (Not a directory): '
            'expected space and permission there, or another folder in RESVIT_CACHE') in said
    assert (tmp_path/'cache').read_text('utf-8') == 'mine' and capfd.readouterr() == ('', '')

def test_cache_folder_without_permission(tmp_path, capfd, request):
    folder = write_course(tmp_path/'course')
    (tmp_path/'cache').mkdir(mode=0o555)
    request.getfixturevalue('nobody')
    refused(capfd, 'bird_dog_reptile', folder, 'cannot be written (Permission denied): expected space',
            tmp_path/'cache')
    refused(capfd, 'bird_dog_reptile', folder, 'cannot be written (Permission denied): expected space',
            tmp_path/'cache')

@contextmanager
def full_disk():
    "No file can grow beyond 2,000 bytes. Not a fixture: pytest's own output may be such a file."
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try: yield
    finally: resource.setrlimit(resource.RLIMIT_FSIZE, before)

def test_full_disk_while_the_cache_is_written(tmp_path, capfd):
    folder = write_course(tmp_path/'course')
    with full_disk():
        said = refused(capfd, 'bird_dog_reptile', folder, 'cannot be written (File too large): expected space',
                       tmp_path/'cache')
    assert str(tmp_path/'cache/images') in said

def test_full_disk_for_the_labels(tmp_path, capfd, monkeypatch):
    folder = write_course(tmp_path/'course')
    def full(*args): raise OSError(28, 'No space left on device')
    monkeypatch.setattr(pictures, 'save_cached', full)
    refused(capfd, 'bird_dog_reptile', folder, 'cannot be written (No space left on device)', tmp_path/'cache')

def test_sheet(tmp_path, capfd):
    folder = write_tree(tmp_path/'tree', each=8)
    argv = '--data', 'image_tree', '--data_dir', folder
    assert leaves(resvit_data.command, *argv, '--sheet',
                  tmp_path/'s.jpg') == (
        f'resvit_data: error: sheet {tmp_path}/s.jpg: expected a name that ends in .png')
    assert made(tmp_path/'cache') == []
    assert leaves(resvit_data.command, *argv, '--sheet', tmp_path/'nowhere/s.png') == (
        f'resvit_data: error: sheet {tmp_path}/nowhere/s.png: there is no folder {tmp_path}/nowhere: expected one')
    Image.new('RGB', (9, 9)).save(tmp_path/'cat.png')
    assert 'cat.png: there already, and not from this command' in leaves(resvit_data.command, *argv, '--sheet',
                                                                         tmp_path/'cat.png')
    (tmp_path/'cat.png').unlink()
    assert made(tmp_path/'cache') == []    # before anything is decoded
    for _ in range(2): resvit_data.command([*map(str, argv), '--sheet', str(tmp_path/'again.png')])
    (tmp_path/'again.png').unlink()
    capfd.readouterr()
    with full_disk(): said = leaves(resvit_data.command, *argv, '--sheet', tmp_path/'s.png')
    assert said == f'resvit_data: error: {tmp_path}/s.png: cannot be written (File too large)'
    assert capfd.readouterr().err == ''
    assert sorted(p.name for p in tmp_path.iterdir()) == ['cache', 'tree']

@pytest.mark.parametrize('resolution', ['0', '-1', '7', '1025', str(10**9), '9'*30])
def test_resolution(resolution, tmp_path):
    assert leaves(resvit_data.command, '--resolution',
                  resolution) == f'resvit_data: error: resolution {resolution}: expected 8 to 1024 pixels'
    assert made(tmp_path/'cache') == []

def small_record(images=40, **changes):
    "A record whose scores are those of its images"
    rng = np.random.default_rng(0)
    arrays = dict(index=np.arange(images, dtype=np.int32), label=np.arange(images, dtype=np.int16)%3,
                  prediction=rng.integers(0, 3, images).astype(np.int16),
                  confidence=rng.random(images).astype(np.float32), rank=rng.integers(0, 3, images).astype(np.int16),
                  loss=rng.random(images).astype(np.float32))
    facts = dict(name='made up', fingerprint='f'*64, classes=3, train=3, valid=1, test=images, names=['a', 'b', 'c'])
    return Record(RunConfig(epochs=1, **changes), facts, [dict(epoch=1, train_loss=1., valid_loss=1.)],
                  summarise(arrays), 10, 'float32', 'none', 1, 1., '2026-01-01T00:00:00+00:00',
                  dict(python='3.11'), dict(device='cpu', name='made up', threads=1), arrays)

def test_full_disk_while_a_record_is_written(tmp_path, capfd):
    with full_disk(), pytest.raises(InputError,
                                    match=r'results/fractals-superclass-resnet50-\w+\.npz: cannot be written \(File '
                                          r'too large\)'): write_record(small_record(images=4000), tmp_path/'results')
    assert list((tmp_path/'results').iterdir()) == [] and capfd.readouterr() == ('', '')

def test_full_disk_keeps_the_old_file(tmp_path):
    (tmp_path/'a').write_text('old', 'utf-8')
    with full_disk(), pytest.raises(InputError, match='a: cannot be written'):
        write_atomically(tmp_path/'a', lambda f: f.write(bytes(3000)))
    assert {p.name: p.read_text('utf-8') for p in tmp_path.iterdir()} == {'a': 'old'}

@pytest.mark.parametrize('path, message', [('file/a', 'Not a directory'), ('nowhere/a', 'No such file or directory'),
                                           ('folder', 'Is a directory'), ('x'*300, 'File name too long')])
def test_where_nothing_can_be_written(path, message, tmp_path):
    (tmp_path/'file').touch(); (tmp_path/'folder').mkdir()
    with pytest.raises(InputError) as e: write_atomically(tmp_path/path, lambda f: f.write(b'new'))
    assert str(e.value) == f'{tmp_path/path}: cannot be written ({message})'
    assert sorted(p.name for p in tmp_path.iterdir()) == ['file', 'folder']


# ---- commands
def raising(error):
    @console_script
    def spam(): "Raises"; raise error
    return leaves(spam.command)

def test_errors_of_the_system_are_one_line(capfd):
    assert raising(OSError(28, 'No space left on device')) == 'spam: error: [Errno 28] No space left on device'
    assert raising(PermissionError(13, 'Permission denied', 'a\nb')) == r'spam: error: a\nb: Permission denied'
    assert raising(MemoryError()) == 'spam: error: out of memory'
    strange = InputError('\x1b[2J\r\nname \udcff, ö and 鳥')
    assert raising(strange) == r'spam: error: \x1b[2J\r\nname \udcff, ö and 鳥'
    assert capfd.readouterr() == ('', '')

def test_interrupted(capfd):
    assert raising(KeyboardInterrupt()) == 130
    assert capfd.readouterr() == ('', 'spam: stopped; to go on, run the same command again\n')

def test_our_own_mistakes_keep_their_traceback():
    @console_script
    def spam(): "Raises"; raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError): spam.command([])

@pytest.mark.parametrize('argv, message', [
    (('--data', 'image_tree', '--data_dir', 'nowhere'), 'nowhere: folder or archive missing'),
    (('--data', 'cifar100', '--data_dir', '/dev/null/x'), '/dev/null/x: CIFAR-100 is not there whole'),
    (('--results', ''), "results '': expected a value"), (('--weights', ''), "weights '': expected a value"),
    (('--data', 'image_tree', '--n_per_subclass', '20'), 'n_per_subclass 20: data image_tree does not use it'),
    (('--weights', 'nowhere.pth'), 'there is no file nowhere.pth'), (('--epochs', '0'),
        'epochs 0: expected an integer of at least 1'), (('--drop', 'nan'), 'drop nan: expected a rate'),
    (('--seed', '1.5'), "argument --seed: invalid int value: '1.5'"), (('--model', 'a\nb'),
        r"model 'a\nb': expected one of"), (('stray\x07',), r'unrecognized arguments: stray\x07')],
        ids=lambda a: a[0] if isinstance(a, tuple) else '')
def test_train_refuses(argv, message, tmp_path, capfd):
    said = leaves(resvit_train.command, '--resolution', '16', '--image_size', '16', '--width', '4', '--results',
                  tmp_path/'results', *argv)
    assert said.startswith('resvit_train: error: ') and message in said
    assert not (tmp_path/'results').exists() and capfd.readouterr().err == ''

def test_reproduce_refuses_names_that_cannot_be_printed(tmp_path):
    assert leaves(resvit_reproduce.command, '--profile', 'a\nb', '--out',
                  tmp_path/'out') == r"resvit_reproduce: error: profile 'a\nb': expected one of smoke, quick, paper"
    assert not (tmp_path/'out').exists()

def test_weights_run_no_code(tmp_path):
    class Program:
        def __reduce__(self): return Path.touch, (tmp_path/'intruded',)
    torch.save({'fc.weight': Program()}, tmp_path/'a.pth')
    (tmp_path/'b.pth').write_bytes(pickle.dumps(Program()))
    (tmp_path/'c.safetensors').write_bytes(pickle.dumps(Program()))
    for name in ('a.pth', 'b.pth', 'c.safetensors'):
        said = leaves(resvit_train.command, '--weights', tmp_path/name, '--resolution', '16', '--image_size', '16',
                      '--width', '4', '--results', tmp_path/'results')
        assert f'weights: {tmp_path}/{name} is damaged' in said
    assert not (tmp_path/'intruded').exists() and not (tmp_path/'results').exists()

NASTY = ['plain', "'", '"', "'''", '"""', '\\', '\\\\n', 'a\nb', '\r\n', '\t', '\0', '{x}', '%s',
         "'); import os; os._exit(3)  #", '"""\nimport os; os._exit(3)\n"""', 'ö鳥🐦', '\u2028', '\x1b[2J', '#', '']

def test_parameters_arrive_as_they_are(tmp_path):
    parameter = nbformat.v4.new_code_cell('texts = []\ntext = ""', metadata=dict(tags=['parameters']))
    keep = nbformat.v4.new_code_cell('print([ascii(t) for t in [*texts, text]])')
    nbformat.write(nbformat.v4.new_notebook(cells=[parameter, keep]), tmp_path/'one.ipynb')
    execute(tmp_path/'one.ipynb', dict(texts=NASTY, text=''.join(NASTY)), tmp_path/'done.ipynb')
    assert nbformat.read(tmp_path/'done.ipynb',
                         4).cells[-1].outputs[0].text == f'{[ascii(t) for t in [*NASTY, "".join(NASTY)]]}\n'

@pytest.mark.parametrize('out, results, message', [
    ('records', 'records', 'inside results {}/records, which is copied to it'),
    ('records/site/x', 'records', 'inside results {}/records, which is copied to it'),
    ('o', 'o/site', 'results {}/o/site: inside {}/o/site, which is replaced'),
    ('o', 'o/notebooks/x', 'results {}/o/notebooks/x: inside {}/o/notebooks, which is replaced'),
    ('lost', 'r', 'out {}/lost: cannot be written'), ('o', 'lost/r', 'results {}/lost/r: cannot be written'),
    ('o', 'o/site/kept', 'results {}/o/site/kept: inside {}/o/site, which is replaced'),
    ('file', 'r', 'out {}/file: cannot be written: expected a folder'),
    ('file/o', 'r', 'out {}/file/o: cannot be written'), ('o', 'file', 'results {}/file: cannot be written')])
def test_folders_that_would_be_copied_into_themselves_or_lost(out, results, message, tmp_path, monkeypatch):
    def never(*args): raise AssertionError('trained')
    monkeypatch.setattr('resvit_nb.reproduce.train_missing', never)
    monkeypatch.chdir(ROOT)
    (tmp_path/'file').write_text('mine', 'utf-8'); (tmp_path/'lost').symlink_to('nowhere')
    said = leaves(resvit_reproduce.command, '--profile', 'smoke', '--out', tmp_path/out, '--results', tmp_path/results)
    assert message.format(tmp_path, tmp_path) in said
    assert {p.name for p in tmp_path.iterdir() if p.name != 'cache'} == {'file', 'lost'}

def owned(folder):
    "What a reproduction left: a site with its list, and a page with parameters put in"
    (folder/'site/a').mkdir(parents=True); (folder/'notebooks').mkdir()
    for name in ('index.html', 'a/b.png'): (folder/'site'/name).write_text('ours', 'utf-8')
    (folder/'site'/LIST).write_text('\n'.join(files_in(folder/'site')), 'utf-8')
    cell = nbformat.v4.new_code_cell('pretrain_dir = None\nresults = "r"', metadata=dict(tags=['injected-parameters']))
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), folder/'notebooks/03_dropout.ipynb')

def own_page(folder): nbformat.write(nbformat.v4.new_notebook(), folder/'notebooks/03_dropout.ipynb')

@pytest.mark.parametrize('change, message', [
    (lambda o: write_tree(o/'site/birds', each=1), 'site: would be replaced, and birds/'),
    (lambda o: (o/'site'/LIST).unlink(), 'or if it is an old site of yours, remove it first'),
    (lambda o: (o/'site/.git').write_text('gitdir', 'utf-8'), 'and .git in it is not known to be ours'),
    (lambda o: (o/'site/a/c').symlink_to('b.png'), 'and a/c in it'),
    (lambda o: (shutil.move(o/'site', o/'real'), (o/'site').symlink_to('real')), 'site: there already, and no folder'),
    (lambda o: (o/'notebooks/kite.jpg').write_text('mine', 'utf-8'), 'kite.jpg in it is no executed page'),
    (own_page, '03_dropout.ipynb in it is no executed page'),
    (lambda o: (shutil.rmtree(o/'notebooks'), (o/'notebooks').write_text('', 'utf-8')), 'there already, and no folder'),
    (lambda o: (o/'site/Thumbs.db').write_text('', 'utf-8'), None), (lambda o: shutil.rmtree(o/'site'), None),
    (lambda o: (shutil.rmtree(o/'site'), (o/'site').mkdir()), None), (lambda o: None, None)])
def test_only_our_own_site_and_pages_are_replaced(change, message, tmp_path, monkeypatch):
    class Reached(InputError): pass
    def trained(*args): raise Reached('trained')
    monkeypatch.setattr('resvit_nb.reproduce.train_missing', trained)
    monkeypatch.chdir(ROOT)
    owned(tmp_path/'o'); change(tmp_path/'o')
    before = sorted(tmp_path.rglob('*'))
    said = leaves(resvit_reproduce.command, '--profile', 'smoke', '--out', tmp_path/'o', '--results', tmp_path/'r')
    assert (message or 'error: trained') in said and '\n' not in said
    assert [p for p in sorted(tmp_path.rglob('*')) if 'cache' not in p.parts] == [p for p in before
                                                                                  if 'cache' not in p.parts]

@pytest.mark.parametrize('tree, out, message', [
    ('zoo', 'zoo', 'out {0}/zoo: inside data_dir {0}/zoo'), ('zoo', 'zoo/a/b', 'out {0}/zoo/a/b: inside data_dir'),
    ('o/site/zoo', 'o', 'data_dir {0}/o/site/zoo: inside {0}/o/site, which is replaced'),
    ('o/notebooks', 'o', 'data_dir {0}/o/notebooks: inside {0}/o/notebooks, which is replaced')])
def test_images_and_pages_stay_apart(tree, out, message, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    write_tree(tmp_path/tree, each=8)
    before = sorted(tmp_path.rglob('*'))
    said = leaves(resvit_reproduce.command, '--profile', 'smoke', '--dataset', 'image_tree', '--data_dir',
                  tmp_path/tree, '--out', tmp_path/out, '--results', tmp_path/'r')
    assert message.format(tmp_path) in said and sorted(tmp_path.rglob('*')) == before

@pytest.mark.parametrize('options, message', [
    (('--seeds', '1001'), 'seeds 1001: expected at least 1, at most 1,000'),
    (('--seeds', '9'*12), 'expected at least 1, at most 1,000'), (('--resolution', '65'), 'expected 8 to 64 pixels'),
    (('--out', ''), "out '': expected a value"), (('--results', ''), "results '': expected a value"),
    (('--dataset', 'image_tree', '--data_dir', 'tree', '--pretrain_dir', 'tree'),
     'pretrain_dir tree: the networks are pre-trained on fractals'),
    (('--profile', 'paper', '--dataset', 'cifar100', '--data_dir', 'tree', '--pretrain_dir', 'tree'),
     'pretrain_dir tree: the networks are pre-trained on fractals'),
    (('--pretrain_dir', 'tree'), 'pretrain_dir tree: profile smoke draws its images')])
def test_reproduce_refuses(options, message, tmp_path, monkeypatch):
    write_tree(tmp_path/'tree', each=8)
    monkeypatch.chdir(ROOT)
    options = [str(tmp_path/o) if o == 'tree' else o for o in options]
    said = leaves(resvit_reproduce.command, '--profile', 'smoke', '--out', tmp_path/'o', *options)
    assert message.replace('tree:', f'{tmp_path}/tree:') in said and not (tmp_path/'o').exists()

def merged(text):
    "As git leaves a file that two people changed"
    lines = text.splitlines(keepends=True)
    half = len(lines)//2
    return ''.join([*lines[:half], '<<<<<<< HEAD\n', lines[half], '=======\n', lines[half], '>>>>>>> theirs\n',
                    *lines[half+1:]])

@pytest.mark.parametrize('spoil', [merged, lambda text: text[:len(text)//3]+'\0', lambda text: '../elsewhere'],
                         ids=['merge conflict', 'torn', 'a link that became text'])
@pytest.mark.parametrize('name', ['settings.ini', '_quarto.yml', 'nbs/21_vit.ipynb',
                                  'nbs/experiments/03_dropout.ipynb'])
def test_a_project_that_no_site_can_be_made_from_costs_no_training(name, spoil, tmp_path, monkeypatch):
    for p in [ROOT/'settings.ini', ROOT/'_quarto.yml', *ROOT.glob('nbs/*.ipynb'),
              *ROOT.glob('nbs/experiments/*.ipynb')]:
        (tmp_path/p.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(p, tmp_path/p.relative_to(ROOT))
    def never(*args): raise AssertionError('trained')
    monkeypatch.setattr('resvit_nb.reproduce.train_missing', never)
    monkeypatch.chdir(tmp_path)
    (tmp_path/name).write_text(spoil((tmp_path/name).read_text('utf-8')), 'utf-8')
    said = leaves(resvit_reproduce.command, '--profile', 'smoke')
    assert name in said and 'expected' in said and not (tmp_path/'out').exists()
