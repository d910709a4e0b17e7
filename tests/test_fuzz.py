"""Readers of other people's files, fed with anything: they return what is right or raise `InputError`, nothing else.

The examples are the same in every run. `RESVIT_FUZZ=100` tries a hundred times as many, other ones each time."""
import csv, io, json, os, sys, tempfile
from pathlib import Path
import numpy as np, pytest
from hypothesis import HealthCheck, given, note, settings, strategies as st
sys.path.insert(0, str(Path(__file__).parent))
from test_bad_input import CLASSES, picture, small_record, write_course
from resvit_nb import runs
from resvit_nb.core import InputError, is_name, printable
from resvit_nb.images import HierarchicalImages
from resvit_nb.pictures import decode_image
from resvit_nb.course import bird_dog_reptile, composed, read_classes, read_table
from resvit_nb.trees import image_tree
from resvit_nb.config import RunConfig, canonical, run_id
from resvit_nb.records import read_record, write_record
from resvit_nb.runs import resvit_train

MORE = int(os.environ.get('RESVIT_FUZZ', 1))

def examples(n):
    return settings(max_examples=n*MORE, derandomize=MORE==1, deadline=None, database=None,
                    suppress_health_check=list(HealthCheck))

def right_or_refused(f, *args):
    "What `f` returns, or `None` if it refuses in one printable line"
    try: return f(*args)
    except InputError as e:
        note(str(e))
        assert printable(str(e))==str(e) and 0<len(str(e))<=1000

def mutated(content):
    "`content` with a few bytes changed, removed, doubled or put in"
    def change(edits):
        b = bytearray(content)
        for kind, at, length, new in edits:
            at %= len(b)+1
            if kind=='put': b[at:at] = new
            elif kind=='cut': del b[at:at+length]
            elif kind=='double': b[at:at] = b[at:at+length]
            else: b[at:at+len(new)] = new
        return bytes(b)
    pieces = st.binary(min_size=1, max_size=4) | st.sampled_from([b'"', b',', b'\n', b'\r\n', b'\0', b'\xef\xbb\xbf',
        b'0', b'-1', b'../', b'\xff', b' ', b'novel', b'\xc2\x85'])
    return st.lists(st.tuples(st.sampled_from(['put', 'cut', 'double', 'over']), st.integers(0, 10**4),
                              st.integers(1, 40), pieces), min_size=1, max_size=4).map(change)


@pytest.fixture(scope='module')
def course():
    "A course folder that stays as it is"
    with tempfile.TemporaryDirectory() as folder:
        os.environ['RESVIT_CACHE'] = f'{folder}/cache'
        yield write_course(Path(folder)/'course', each=1)
        del os.environ['RESVIT_CACHE']

# ---- tables
fields = st.text(max_size=8) | st.sampled_from(['0', '1', '2', '-1', '3.0', '"', '0.png', '3.png', '../0.png', 'bird',
                                                'novel', ''])
tables = st.binary(max_size=80) | st.text(max_size=80).map(lambda t: t.encode('utf-8',
    'surrogatepass')) | st.lists(st.lists(fields, max_size=5), max_size=6).map(
    lambda rows: '\n'.join(','.join(r) for r in rows).encode('utf-8', 'surrogatepass'))

@examples(200)
@given(content=tables, header=st.booleans())
def test_tables_of_anything(course, content, header):
    path = course.parent/'table.csv'
    path.write_bytes(b'index,class\n'*header+content)
    rows = right_or_refused(read_table, path, ('index', 'class'))
    if rows is not None: assert rows and all(r['index'].strip() and r['class'].strip() and None not in r for r in rows)
    classes = right_or_refused(read_classes, path)
    if classes is not None:
        assert classes and rows is not None and len(set(classes.values())) == len(classes)
        assert 'novel' not in classes.values()
        assert all(type(i) is int and i >= 0 and is_name(name) for i, name in classes.items())

names = st.text(st.characters(exclude_categories=['Cc', 'Cs', 'Zl', 'Zp']),
                min_size=1).map(composed).filter(lambda t: is_name(t) and t!='novel')

@examples(150)
@given(rows=st.lists(st.tuples(st.integers(0, 10**9-1), names), min_size=1, max_size=6,
                     unique_by=(lambda r: r[0], lambda r: r[1])), bom=st.booleans(),
       end=st.sampled_from(['\n', '\r\n']), blank=st.booleans())
def test_what_csv_writes_is_read(course, rows, bom, end, blank):
    text = io.StringIO(newline='')
    csv.writer(text, lineterminator=end+end*blank).writerows([('index', 'class'), *rows])
    (course.parent/'table.csv').write_bytes(b'\xef\xbb\xbf'*bom+text.getvalue().encode())
    assert read_classes(course.parent/'table.csv') == dict(rows)

@pytest.mark.parametrize('name', ['train_data.csv', *(f'{t}_mapping.csv' for t in CLASSES)])
def test_course_with_a_damaged_table(course, name):
    path, whole = course/name, (course/name).read_bytes()
    pictures = {decode_image(p, 8, '').tobytes() for p in (course/'train_images').iterdir()}
    @examples(150)
    @given(content=mutated(whole) | tables)
    def check(content):
        path.write_bytes(content)
        data = right_or_refused(bird_dog_reptile, course, 8)
        if data is not None:
            assert len(data) == len(data.superclass) == len(data.subclass)
            assert {im.tobytes() for im in data.images} <= pictures
            assert set(data.superclass) == set(range(len(data.superclasses)))
            assert set(data.subclass) == set(range(len(data.subclasses)))
            assert (data.parent[data.subclass] == data.superclass).all()
    try: check()
    finally: path.write_bytes(whole)

# ---- pictures and archives
@pytest.mark.parametrize('kind', ['PNG', 'JPEG', 'GIF', 'TIFF', 'WEBP', 'BMP'])
def test_damaged_pictures(kind):
    file, turned = io.BytesIO(), b'Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0'
    picture(0).save(file, kind, **(dict(exif=turned) if kind in ('PNG', 'JPEG', 'WEBP') else {}))
    @examples(150)
    @given(content=mutated(file.getvalue()))
    @pytest.mark.filterwarnings('ignore')
    def check(content):
        image = right_or_refused(decode_image, lambda: io.BytesIO(content), 8, 'it')
        if image is not None: assert image.shape == (3, 8, 8) and image.dtype == np.uint8
    check()

def test_damaged_archives(course):
    import tarfile
    path = course.parent/'tree.tar'
    with tarfile.open(path, 'w', format=tarfile.PAX_FORMAT) as tar:
        for i in range(2): tar.add(course/f'train_images/{i}.png', f'tree/bird/wren é {i}/{i}.png')
    whole = path.read_bytes()
    @examples(200)
    @given(content=mutated(whole[:2600]).map(lambda b: b+whole[2600:]) | st.binary(max_size=600))
    def check(content):
        path.write_bytes(content)
        data = right_or_refused(image_tree, path, 8)
        if data is not None: assert isinstance(data, HierarchicalImages) and len(data) in (1, 2)
    check()

# ---- records
scalars = st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.integers(), st.floats(), st.text(max_size=5),
                    st.sampled_from(['../../etc/passwd', '1', '<script>', 1e400]))
anything = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner,
    max_size=3), max_leaves=4)

def places(facts, path=()):
    "Every way into a nested dict or list"
    yield path
    for k, v in (facts.items() if isinstance(facts, dict) else enumerate(facts) if isinstance(facts, list) else ()):
        yield from places(v, (*path, k))

def changed(facts, path, kind, new):
    "`facts` with the value at `path` replaced or removed, or a value added there"
    facts = json.loads(json.dumps(facts))
    if not path: return new
    inner = facts
    for k in path[:-1]: inner = inner[k]
    if kind=='replace': inner[path[-1]] = new
    elif kind=='remove': del inner[path[-1]]
    elif isinstance(inner[path[-1]], dict): inner[path[-1]]['spam'] = new
    else: inner[path[-1]] = [inner[path[-1]], new]
    return facts

def same(a, b):
    "Whether two records say the same, but for what a number is called (1 and 1.0)"
    facts = all(getattr(a, name) == getattr(b, name) for name in ('config', 'test', 'data', 'epochs'))
    return facts and all(np.array_equal(a.images[k], b.images[k]) for k in b.images)

@pytest.fixture(scope='module')
def record():
    with tempfile.TemporaryDirectory() as folder:
        yield write_record(small_record(), folder)

def test_damaged_records(record):
    whole, text = read_record(record), record.read_text('utf-8')
    facts = json.loads(text)
    # what a run says of itself, and nothing checks: a string is a string
    free = {'started', 'versions', 'hardware', 'recipe', 'seconds', 'memory_mib', 'parameters', 'multiply_adds',
            'precision', 'weights', 'data', 'epochs'}
    @examples(400)
    @given(path=st.sampled_from([p for p in places(facts) if not p or p[0] not in free]),
           kind=st.sampled_from(['replace', 'remove', 'add']), new=anything)
    def change_json(path, kind, new):
        record.write_text(json.dumps(changed(facts, path, kind, new)), 'utf-8')
        again = right_or_refused(read_record, record)
        if again is not None: assert same(again, whole)
    @examples(200)
    @given(content=mutated(text.encode()) | st.binary(max_size=60))
    def change_bytes(content):
        record.write_bytes(content)
        right_or_refused(read_record, record)
    try: change_json(); change_bytes()
    finally: record.write_text(text, 'utf-8')

def test_damaged_arrays(record):
    arrays = record.with_suffix('.npz')
    whole, kept = read_record(record), arrays.read_bytes()
    @examples(100)
    @given(content=mutated(kept))
    def check(content):
        arrays.write_bytes(content)
        again = right_or_refused(read_record, record)
        if again is not None: assert content == kept and same(again, whole)
    try: check()
    finally: arrays.write_bytes(kept)

# ---- configurations and options
names = list(RunConfig.__dataclass_fields__)

@examples(400)
@given(fields=st.dictionaries(st.sampled_from(names), anything | st.sampled_from(['subclass', 'cifar100', 'vit_tiny',
    'resnet50', 'swap', 16, 32, 64, 224, .5, 'bf16', 'imagenet']), max_size=4))
def test_configurations(fields):
    config = right_or_refused(lambda: RunConfig(**fields))
    if config is None: return
    # it can be written and read
    assert RunConfig(**json.loads(json.dumps(fields))) == config and run_id(config).isascii()
    assert run_id(RunConfig(**json.loads(canonical(config)))) == run_id(config)

class Stub(Exception): "Training would begin here"

@examples(60)
@given(argv=st.lists(st.tuples(st.sampled_from([*names, 'results', 'keep', 'data_dir', 'spam', '']),
                               st.text(max_size=6) | st.integers().map(str) | st.floats().map(str) | st.sampled_from(
    ['subclass', 'superclass', 'vit_tiny', 'resnet50', '16', '32', '0', '1', '.5', 'nan', 'inf', '1e3', '--help', '-h',
     '--drop', '3:1:6'])), max_size=3), single=st.none() | st.text(max_size=6))
def test_options(argv, single):
    asked = []
    def stub(config, *args): asked.append(config); raise InputError('stub')
    before, runs.run = runs.run, stub
    out, sys.stdout = sys.stdout, io.StringIO()    # --help prints
    try:
        with pytest.raises(SystemExit) as left:
            resvit_train.command([x for name, value in argv for x in (f'--{name}',
                value)]+[single]*(single is not None))
    finally: runs.run, sys.stdout = before, out
    code = left.value.code
    assert code == 0 or code.startswith('resvit_train: error: ') and printable(code)==code
    for config in asked: assert isinstance(config, RunConfig)
