"Predictions of models on files: the numbers of the test, pairs that go together, inputs of every kind, and bad ones."
import configparser, csv, inspect, io, json, os, re, shutil, subprocess, sys, tarfile
from dataclasses import replace
from pathlib import Path
import numpy as np, pandas as pd, pytest, torch
from PIL import Image
from resvit_nb import predict as module
from resvit_nb.commands import COMMANDS, HELP, NAMES, find_name, help_text
from resvit_nb.config import RunConfig, run_id
from resvit_nb.core import InputError
from resvit_nb.models import ModelInfo, create_model, load_model, save_model, set_novelty
from resvit_nb.novelty import LOGIT_SCORES, logit_score
from resvit_nb.predict import answers, find_images, joint, predict_images, resvit_predict, superclass_logits
from resvit_nb.runs import images_of, keep_model, model_folder, resvit_train, run, weights_file

SMALL = RunConfig(n_per_subclass=10, resolution=16, image_size=16, width=8, epochs=1, split='8:1:1')
CONFIGS = dict(superclass=SMALL, subclass=replace(SMALL, target='subclass', image_size=24),
               vit=replace(SMALL, target='subclass', model='vit_tiny', width=64, dim=48, depth=2, heads=3))

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    "Model folders by name, their records, and the folder of the test images as files"
    place = tmp_path_factory.mktemp('predict')
    patched = pytest.MonkeyPatch(); patched.setenv('RESVIT_CACHE', str(place/'cache'))
    records = {k: run(c, place/'results', keep=True) for k, c in CONFIGS.items()}
    models = {k: keep_model(r, place/'results') for k, r in records.items()}
    data, photos = images_of(SMALL), place/'photos'
    photos.mkdir()
    for n, i in enumerate(records['superclass'].images['index']): Image.fromarray(data.images[i].transpose(1, 2, 0)).save(photos/f'{n:04}.png')
    yield models, records, photos, data
    patched.undo()

def command(capsys, *options):
    "What the command printed, and what it said at its end"
    said = None
    try: resvit_predict.command([*map(str, options)])
    except SystemExit as e: said = str(e.code)
    return capsys.readouterr().out, said

def random_model(place, target='subclass', resolution=16, image_size=None, seed=0, parent=(0, 1, 1, 0, 1), **sizes):
    torch.manual_seed(seed)
    info = ModelInfo('resnet50', target, ['left', 'right'], ['a', 'b, b', 'c', 'd "d"', 'e'], list(parent), resolution, image_size or resolution, [.4]*3, [.3]*3)
    net, noise = create_model('resnet50', len(info.classes), width=8, zero_init_last=False, **sizes).eval(), torch.rand(64, 3, 1, 1)+.2*torch.randn(64, 3, image_size or resolution, image_size or resolution)
    with torch.no_grad():    # so that its answers differ from picture to picture
        net.fc.weight.copy_(torch.randn_like(net.fc.weight)); net.fc.bias.zero_()
        net.fc.weight.mul_(3/(out := net((noise-.4)/.3)).std(0)[:, None]); net.fc.bias.copy_(-3*out.mean(0)/out.std(0))
    return save_model(net, info, place)


@pytest.mark.parametrize('name', CONFIGS)
def test_the_numbers_of_the_test_to_the_bit(made, name):
    models, records, photos, data = made
    table, images = predict_images([load_model(models[name])], find_images([photos])), records[name].images
    target = CONFIGS[name].target
    assert np.array_equal(table[f'{target}_index'], images['prediction'])
    assert table[f'{target}_probability'].to_numpy().tobytes() == images['confidence'].tobytes()
    if target == 'subclass': assert np.array_equal(table.superclass_index, data.parent[images['prediction']])

def test_the_csv_gives_these_numbers_back(made, capsys, tmp_path):
    models, records, photos, _ = made
    assert command(capsys, models['vit'], photos, '--probabilities', '--out', tmp_path/'a.csv')[1] is None
    table = pd.read_csv(tmp_path/'a.csv', dtype={'subclass_probability': np.float32})
    assert list(table) == ['image', 'superclass_index', 'subclass_index', 'superclass_probability', 'subclass_probability']
    assert np.array_equal(table.subclass_probability, records['vit'].images['confidence'])

def test_batches_do_not_matter(made, monkeypatch):
    models, records, photos, _ = made
    whole = predict_images([load_model(models['subclass'])], find_images([photos]))
    for batch, block in ((7, 1), (5, 10**6), (256, 1)):
        monkeypatch.setattr(module, 'BATCH', batch); monkeypatch.setattr(module, 'BLOCK', block)
        found = predict_images([load_model(models['subclass'])], find_images([photos]))
        assert list(found.image) == list(whole.image) and np.array_equal(found.subclass_index, whole.subclass_index)
        np.testing.assert_allclose(found.subclass_probability, whole.subclass_probability, rtol=.02)

def test_training_leaves_a_folder_and_asking_again_trains_nothing(made, capsys, tmp_path, monkeypatch):
    options = '--n_per_subclass 10 --resolution 16 --image_size 16 --width 8 --epochs 1 --split 8:1:1 --seed 5'.split()
    place = model_folder(run_id(replace(SMALL, seed=5)), tmp_path)
    def train_with(*more):
        resvit_train.command([*options, '--results', str(tmp_path), *more])
        return capsys.readouterr().out
    assert f'model: {place}' not in train_with() and not place.exists()
    assert f'\nmodel: {place}\n' in train_with('--keep')
    before = (place/'model.safetensors').read_bytes()
    monkeypatch.setattr('resvit_nb.runs.train', None)    # whoever trains now, fails
    assert f'\nmodel: {place}\n' in train_with('--keep')
    shutil.rmtree(place)
    assert f'\nmodel: {place}\n' in train_with('--keep') and (place/'model.safetensors').read_bytes() == before
    weights_file(place.name).unlink()
    assert f'\nmodel: {place}\n' in train_with('--keep')

def test_a_run_id_names_its_model(made, capsys, tmp_path):
    models, records, photos, _ = made
    results, name = models['vit'].parent.parent, records['vit'].run_id
    assert command(capsys, name, photos, '--results', results) == command(capsys, models['vit'], photos)
    assert 'there is no such record' in command(capsys, 'a-subclass-vit_tiny-0123456789', photos, '--results', results)[1]

def test_weights_of_another_network_make_no_folder(made, tmp_path):
    _, records, _, _ = made
    shutil.copytree(weights_file('x').parent, tmp_path/'kept')
    file = weights_file(records['vit'].run_id)
    good = file.read_bytes()
    try:
        file.write_bytes(good[:-1]+b'?')
        with pytest.raises(InputError, match='its weights are not in'): keep_model(records['vit'], tmp_path)
        assert not (tmp_path/'models').exists()
    finally: file.write_bytes(good)

@pytest.mark.parametrize('note', ['{}', '[1]', '{"sha', None])
def test_without_a_note_the_classes_come_from_the_images(made, tmp_path, note):
    _, records, _, data = made
    file = weights_file(records['subclass'].run_id).with_suffix('.json')
    good = file.read_text('utf-8')
    try:
        if note is None: file.unlink()
        else: file.write_text(note, 'utf-8')
        assert load_model(keep_model(records['subclass'], tmp_path)).info.parent == data.parent.tolist()
    finally: file.write_text(good, 'utf-8')


LOGITS = torch.randn(200, 5, generator=torch.Generator().manual_seed(1))*3
COARSE, PARENT = torch.randn(200, 2, generator=torch.Generator().manual_seed(2))*2, torch.tensor([0, 1, 1, 0, 1])

def test_pairs_by_hand():
    fine, coarse = LOGITS.double().softmax(1), COARSE.double().softmax(1)
    expected = torch.stack([coarse[:, s]*fine[:, c]/fine[:, PARENT == s].sum(1) for c, s in enumerate(PARENT)], 1)
    torch.testing.assert_close(joint(COARSE, LOGITS, PARENT).exp(), expected)
    both = answers(dict(superclass=COARSE, subclass=LOGITS), PARENT)
    assert torch.equal(both['subclass'][0], expected.argmax(1)) and torch.equal(both['superclass'][0], PARENT[expected.argmax(1)])
    torch.testing.assert_close(both['subclass'][1].double(), expected.max(1)[0], rtol=1e-6, atol=0)
    torch.testing.assert_close(both['superclass'][1].double(), coarse.gather(1, both['superclass'][0][:, None])[:, 0], rtol=1e-6, atol=0)
    apart = answers(dict(superclass=COARSE, subclass=LOGITS), PARENT, independent=True)
    assert torch.equal(apart['superclass'][0], COARSE.argmax(1)) and torch.equal(apart['subclass'][0], LOGITS.argmax(1))
    assert (PARENT[apart['subclass'][0]] != apart['superclass'][0]).any()
    one = answers(dict(subclass=LOGITS), PARENT, independent=True)
    summed = torch.stack([fine[:, PARENT == s].sum(1) for s in (0, 1)], 1)
    assert torch.equal(one['superclass'][0], summed.argmax(1)) and (PARENT[one['subclass'][0]] != one['superclass'][0]).any()
    assert torch.equal(answers(dict(subclass=LOGITS), PARENT)['superclass'][0], PARENT[LOGITS.argmax(1)])

def test_near_ties_and_large_logits_are_those_of_the_test():
    close = torch.tensor([[1., 1+1e-7, 0, 0, 0], [5., 5, 5, 5, 5], [1e4, -1e4, 0, 9999.9995, 0], [float('nan'), 1, 2, 0, 0]])
    found = answers(dict(subclass=close), PARENT)
    assert found['subclass'][0].tolist() == [1, 0, 0, 2]
    assert torch.isfinite(joint(torch.tensor([[1e4, -1e4]]), close[2:3], PARENT)[:, 0]).all()

@pytest.mark.parametrize('name', LOGIT_SCORES)
def test_unknown_by_hand(name):
    p = LOGITS.double().softmax(1).numpy()
    expected = {'maximum softmax': -p.max(1), 'maximum logit': -LOGITS.max(1)[0].numpy(), 'energy': -np.log(np.exp(LOGITS.double().numpy()).sum(1)), 'entropy': -(p*np.log(p)).sum(1)}
    np.testing.assert_allclose(logit_score(name, LOGITS), expected[name], rtol=1e-4, atol=1e-5)
    level = superclass_logits(LOGITS, PARENT)
    if name == 'energy': np.testing.assert_allclose(logit_score(name, level), expected[name], rtol=1e-6)


@pytest.fixture
def pictures(tmp_path):
    "Twelve noisy pictures, their folder, and a name that sorts otherwise than it was written"
    rng, place = np.random.default_rng(0), tmp_path/'pictures'
    (place/'deep').mkdir(parents=True)
    for name in (*(f'{i}.png' for i in range(10)), 'deep/a.jpg', 'B.PNG'): Image.fromarray((rng.integers(0, 256, 3)+rng.normal(0, 50, (20, 28, 3))).clip(0, 255).astype(np.uint8)).save(place/name)
    return place

def rows(text): return list(csv.reader(io.StringIO(text)))

def test_every_kind_of_input_gives_the_same_rows(tmp_path, pictures, capsys):
    model = random_model(tmp_path/'model')
    out, said = command(capsys, model, pictures)
    assert said is None and rows(out)[0] == ['image', 'superclass_index', 'subclass_index'] and len(rows(out)) == 13
    answer = {name: numbers for name, *numbers in rows(out)[1:]}
    assert len({*map(tuple, answer.values())}) > 1
    with tarfile.open(tmp_path/'all.tar', 'w') as tar: tar.add(pictures, '.')
    archive = {name.removeprefix('./'): numbers for name, *numbers in rows(command(capsys, model, tmp_path/'all.tar')[0])[1:]}
    assert archive == answer
    order = ['3.png', 'deep/a.jpg', 'B.PNG', '0.png', '3.png']
    (pictures/'list.csv').write_text('label,image\n'+''.join(f'?,{n}\n' for n in order), 'utf-8')
    assert rows(command(capsys, model, pictures/'list.csv')[0])[1:] == [[n, *answer[n]] for n in order]
    shutil.move(pictures/'list.csv', tmp_path/'list.csv')
    assert rows(command(capsys, model, tmp_path/'list.csv', '--images_dir', pictures)[0])[1:] == [[n, *answer[n]] for n in order]
    files = [pictures/n for n in ('9.png', '1.png')]
    assert rows(command(capsys, model, *files)[0])[1:] == [[str(f), *answer[f.name]] for f in files]
    several = rows(command(capsys, model, pictures/'9.png', pictures, tmp_path/'all.tar')[0])[1:]
    assert len(several) == 25 and several[0][0] == str(pictures/'9.png') and several[1][0].startswith(f'{pictures}/') and len({r[0] for r in several}) == 24

def test_names_probabilities_and_json(tmp_path, pictures, capsys):
    model = random_model(tmp_path/'model')
    header, *table = rows(command(capsys, model, pictures, '--names', '--probabilities')[0])
    assert header == ['image', 'superclass_index', 'subclass_index', 'superclass', 'subclass', 'superclass_probability', 'subclass_probability']
    info = load_model(model).info
    for _, s, c, superclass, subclass, p, q in table:
        assert (superclass, subclass, info.parent[int(c)]) == (info.superclasses[int(s)], info.subclasses[int(c)], int(s)) and 0 < float(q) <= float(p) <= 1
    assert command(capsys, model, pictures, '--names', '--out', tmp_path/'a.json')[0] == f'12 of 12 images: {tmp_path}/a.json\n'
    listed = json.loads((tmp_path/'a.json').read_text('utf-8'))
    assert [list(map(str, r.values())) for r in listed] == [r[:5] for r in table] and list(listed[0]) == header[:5]

def test_two_models_of_other_resolutions(tmp_path, pictures, capsys):
    fine, coarse = random_model(tmp_path/'fine'), random_model(tmp_path/'coarse', 'superclass', resolution=12, image_size=24, seed=1)
    both = rows(command(capsys, fine, coarse, pictures, '--names')[0])
    assert both == rows(command(capsys, coarse, fine, pictures, '--names')[0])
    info = load_model(fine).info
    assert all(info.parent[int(r[2])] == int(r[1]) for r in both[1:])
    apart = rows(command(capsys, fine, coarse, pictures, '--names', '--independent')[0])
    for model, column in ((fine, 2), (coarse, 1)):
        alone = rows(command(capsys, model, pictures)[0])
        assert [r[column] for r in apart] == [r[-1] for r in alone]
    assert any(info.parent[int(r[2])] != int(r[1]) for r in apart[1:])

def test_broken_pictures(tmp_path, pictures, capsys):
    model = random_model(tmp_path/'model')
    good = rows(command(capsys, model, pictures)[0])
    for name, content in (('4.png', b''), ('deep/a.jpg', b'GIF89a')): (pictures/name).write_bytes(content)
    out, said = command(capsys, model, pictures, '--out', tmp_path/'a.csv')
    assert out == '' and 'not a readable image' in said and said.count('\n') == 0 and not (tmp_path/'a.csv').exists()
    resvit_predict.command([str(model), str(pictures), '--broken', 'skip'])
    found = capsys.readouterr()
    assert rows(found.out) == [r for r in good if r[0] not in ('4.png', 'deep/a.jpg')]
    assert found.err.count('skipped: ') == 2 and '4.png: not a readable image' in found.err
    assert command(capsys, model, pictures/'4.png', '--broken', 'skip')[1] == 'resvit_predict: error: 1 images, none of them readable: expected at least one'

@pytest.mark.parametrize('options, message', [
    (['model'], 'a model and no image: expected files'), (['nowhere', 'pictures'], 'nowhere: no model folder'), (['pictures/1.png', 'pictures'], 'pictures/1.png: no model folder'),
    (['model', 'nowhere'], 'nowhere: missing: expected an image, a folder, an archive or a CSV'), (['model', 'pictures', '--out', 'a.txt'], 'expected a name that ends in .csv or .json'),
    (['model', 'pictures', '--out', 'no/a.csv'], 'there is no folder'), (['model', 'pictures', '--broken', 'ask'], "broken 'ask': expected one of refuse, skip"), (['model', 'empty'], 'empty: no image found'),
    (['model', 'model2', 'pictures'], '2 models of subclass: expected one of superclass and one of subclass'), (['model', 'other', 'pictures'], 'two models of different classes'),
    (['model', 'other', 'model2', 'pictures'], '3 models: expected one'), (['model', 'out.csv'], "column 'image' missing"), (['model', 'leave.csv'], 'leaves the folder'), (['model', 'gone.csv'], 'gone.csv, line 3: 77.png: image missing'),
    (['model', 'pictures', '--mapping', 'empty'], 'superclass_mapping.csv: file missing'), (['model', 'torn.tar'], 'not an uncompressed tar archive'), (['model', 'spoilt', 'pictures'], 'spoilt/config.json'),
    (['strange', 'pictures'], "novelty score 'luck': expected one of maximum softmax")])
def test_bad_input_is_one_line_and_writes_nothing(tmp_path, pictures, capsys, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    for name in ('model', 'model2', 'strange'): random_model(tmp_path/name)
    random_model(tmp_path/'other', 'superclass', parent=(0, 1, 1, 0, 0))
    set_novelty(tmp_path/'strange', 0, 'luck')
    (tmp_path/'empty').mkdir(); (tmp_path/'spoilt').mkdir(); (tmp_path/'spoilt/config.json').write_text('{', 'utf-8')
    (tmp_path/'out.csv').write_text('file\n1.png\n', 'utf-8'); (tmp_path/'leave.csv').write_text('image\n../x.png\n', 'utf-8'); (tmp_path/'gone.csv').write_text('image\npictures/1.png\n77.png\n', 'utf-8')
    (tmp_path/'torn.tar').write_bytes(b'x'*600)
    before = sorted(tmp_path.rglob('*'))
    out, said = command(capsys, *options, *(() if '--out' in options else ('--out', 'a.csv')))
    assert out == '' and message in said and said.startswith('resvit_predict: error: ') and '\n' not in said
    assert sorted(tmp_path.rglob('*')) == before

def test_a_table_is_written_whole_or_not_at_all(tmp_path, pictures, capsys, monkeypatch):
    model, out = random_model(tmp_path/'model'), tmp_path/'a.csv'
    out.write_text('old', 'utf-8')
    def full(*args): raise OSError(28, 'No space left on device')
    with monkeypatch.context() as m:
        m.setattr('os.fsync', full)
        assert command(capsys, model, pictures, '--out', out)[1] == f'resvit_predict: error: {out}: cannot be written (No space left on device)'
    assert out.read_text('utf-8') == 'old' and sorted(p.name for p in tmp_path.iterdir()) == ['a.csv', 'model', 'pictures']

@pytest.mark.parametrize('level, score', [('superclass', 'maximum softmax'), ('subclass', 'entropy'), ('superclass', 'energy')])
def test_novel_images(tmp_path, pictures, capsys, level, score):
    model = random_model(tmp_path/'model')
    plain = rows(command(capsys, model, pictures, '--names')[0])[1:]
    net = module.ready(load_model(model))
    logits = module.image_logits(net, module.decode_block(find_images([pictures]), 16, 'refuse')[0])
    own = logit_score(score, logits if level == 'subclass' else superclass_logits(logits, torch.tensor(net.info.parent)))
    threshold = float(own.sort()[0][6])
    set_novelty(model, threshold, score, level)
    for row, was, novel in zip(rows(command(capsys, model, pictures, '--names')[0])[1:], plain, own > threshold, strict=True):
        expected = was if not novel else [was[0], *((was[1], '5', was[3]) if level == 'subclass' else ('2', '5', 'novel')), 'novel']
        assert row == expected

def test_a_course_folder_has_its_own_numbers(tmp_path, pictures, capsys):
    model, course = random_model(tmp_path/'model'), tmp_path/'course'
    set_novelty(model, -2, 'maximum softmax')    # all are novel
    plain = rows(command(capsys, model, pictures)[0])[1:]
    shutil.copytree(pictures, course/'test_images')
    tables = dict(superclass=[(4, 'right'), (9, 'novel'), (2, 'left')], subclass=[(0, 'e'), (50, '"b, b"'), (3, 'c'), (7, '"d ""d"""'), (1, 'a'), (87, 'novel')])
    for t, own in tables.items(): (course/f'{t}_mapping.csv').write_text('index,class\n'+''.join(f'{i},{c}\n' for i, c in own), 'utf-8')
    assert [r[1:] for r in rows(command(capsys, model, course)[0])[1:]] == [[['2', '4'][int(s)], '87'] for _, s, _ in plain]
    set_novelty(model, 0, 'maximum softmax')     # none is
    known = rows(command(capsys, model, pictures)[0])[1:]
    assert [r[1:] for r in rows(command(capsys, model, course)[0])[1:]] == [[['2', '4'][int(s)], ['1', '50', '3', '7', '0'][int(c)]] for _, s, c in known]
    assert rows(command(capsys, model, pictures, '--mapping', course)[0]) == rows(command(capsys, model, course)[0])
    (course/'subclass_mapping.csv').write_text('index,class\n0,a\n', 'utf-8')
    assert 'subclass_mapping.csv: class \'b, b\' missing: expected every class of the model' in command(capsys, model, course)[1]


# ---- commands and names, from outside

def process(code):
    return subprocess.run([sys.executable, '-c', code], capture_output=True, encoding='utf-8', cwd=ROOT)

def as_script(name, *options):
    return process(f"import sys; sys.argv = {[name, *options]!r}; from resvit_nb.commands import main; main(); print('torch' in sys.modules)")

@pytest.mark.parametrize('name', COMMANDS)
def test_stored_help_is_what_the_command_prints(name, monkeypatch):
    monkeypatch.setenv('COLUMNS', '80')
    assert json.loads(HELP.read_text('utf-8'))[name] == help_text(name).splitlines(), 'run `make export`'

def test_every_console_script_is_a_command():
    settings = configparser.ConfigParser(delimiters=['=']); settings.read(ROOT/'settings.ini')
    listed = dict(line.split('=') for line in settings['DEFAULT']['console_scripts'].split())
    assert listed == {name: 'resvit_nb.commands:main' for name in COMMANDS}

@pytest.mark.parametrize('name', COMMANDS)
def test_help_imports_nothing_heavy(name):
    done = as_script(name, '--help')
    assert done.stdout.startswith(f'usage: {name} ') and done.stdout.endswith('\nFalse\n') and done.stderr == ''

def test_anything_else_is_the_command():
    done = as_script('resvit_train', '--drop', '1')
    assert (done.returncode, done.stdout) == (1, '') and done.stderr == 'resvit_train: error: drop 1.0: expected a rate of at least 0 and below 1\n'

def test_names_at_the_top():
    code = "import sys, resvit_nb; assert {'create_model', '__version__'} <= {*dir(resvit_nb)}; from resvit_nb import commands; assert 'torch' not in sys.modules; "
    code += "net = resvit_nb.create_model('resnet50', 3, width=8); help(resvit_nb.create_model); assert 'fastai' not in sys.modules; resvit_nb.nothing"
    done = process(code)
    assert "dropout rate before the classifier, 0 <= drop < 1" in done.stdout and done.stderr.endswith("AttributeError: module 'resvit_nb' has no attribute 'nothing'\n")

@pytest.mark.parametrize('name', NAMES)
def test_help_explains_every_parameter_of_a_name(name):
    found, again = find_name(name), find_name(name)
    assert found is again and found.__doc__.count('\n\n') <= 1
    if inspect.isfunction(found):
        for parameter in inspect.signature(found).parameters: assert f'    {parameter} ' in found.__doc__, parameter


# ---- the example of CONTRIBUTING.md

TRY = """
from dataclasses import replace
from resvit_nb import runs
from resvit_nb.config import RunConfig, brief, run_id
config = RunConfig(n_per_subclass=10, resolution=16, image_size=16, width=8, epochs=1)
plain, smooth = (runs.train(c, runs.images_of(c)) for c in (config, replace(config, smoothing=.5)))
print(runs.__file__, run_id(config), plain.epochs[0]['train_loss'], smooth.epochs[0]['train_loss'], brief(smooth.config), sep='|')
RunConfig(smoothing=1.)
"""

def test_the_example_of_a_new_setting_is_what_it_takes(made, tmp_path):
    text = (ROOT/'CONTRIBUTING.md').read_text('utf-8')
    section = text[text.index('## An example'):text.index('## Tests')]
    shutil.copytree(ROOT/'resvit_nb', tmp_path/'resvit_nb')
    for name, blocks in re.findall(r'^`\d\d_(\w+)`:.*\n((?:\n```diff\n(?:[-+].*\n)+```\n)+)', section, re.M):
        file = tmp_path/f'resvit_nb/{name}.py'
        for block in re.findall(r'```diff\n(.*?)```', blocks, re.S):
            old, new = (''.join(l[1:] for l in block.splitlines(True) if l[0] == sign) for sign in '-+')
            assert file.read_text('utf-8').count(old) == 1, old
            file.write_text(file.read_text('utf-8').replace(old, new))
    done = subprocess.run([sys.executable, '-c', TRY], capture_output=True, encoding='utf-8', cwd=tmp_path, env=os.environ | {'PYTHONPATH': str(tmp_path)})
    where, name, plain, smooth, words = done.stdout.splitlines()[-1].split('|')
    assert where.startswith(str(tmp_path)) and name == run_id(replace(SMALL, split='3:1:6'))
    assert plain != smooth and 'smoothing 0.5' in words and done.stderr.endswith('smoothing 1.0: expected a rate of at least 0 and below 1\n')
