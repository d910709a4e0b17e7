"Predictions of models on files: the numbers of the test, pairs that go together, inputs of every kind, and bad ones."
import argparse, configparser, csv, inspect, io, json, os, re, shutil, subprocess, sys, tarfile
from dataclasses import replace
from functools import partial
from pathlib import Path
import numpy as np, pandas as pd, pytest, torch
from PIL import Image
from resvit_nb import pictures as decoder, predict as module, runs as module_runs
from resvit_nb.commands import COMMANDS, HELP, NAMES, find_command, find_name, help_text
from resvit_nb.config import RunConfig, run_id
from resvit_nb.core import InputError, parser_of
from resvit_nb.model_info import ModelInfo
from resvit_nb.models import create_model
from resvit_nb.model_folders import load_model, save_model, set_novelty
from resvit_nb.novelty import LOGIT_SCORES, logit_score
from resvit_nb.predict import answers, find_images, joint, predict_images, resvit_predict, superclass_logits
from resvit_nb.records import read_record
from resvit_nb.runs import adopt_model, has_model, images_of, keep_model, model_folder, resvit_train, run, weights_file
from resvit_nb.trees import image_tree
from resvit_nb.sources import resvit_data
from resvit_nb.submit import ALL, ASIDE, resvit_submit, submission_configs, submit

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
    for n, i in enumerate(records['superclass'].images['index']):
        Image.fromarray(data.images[i].transpose(1, 2, 0)).save(photos/f'{n:04}.png')
    yield models, records, photos, data
    patched.undo()

def command(capsys, *options, of=resvit_predict):
    "What the command printed, and what it said at its end"
    said = None
    try: of.command([*map(str, options)])
    except SystemExit as e: said = str(e.code)
    return capsys.readouterr().out, said

def random_model(place, target='subclass', resolution=16, image_size=None, seed=0, parent=(0, 1, 1, 0, 1), **sizes):
    torch.manual_seed(seed)
    info = ModelInfo('resnet50', target, ['left', 'right'], ['a', 'b, b', 'c', 'd "d"', 'e'], list(parent), resolution,
                     image_size or resolution, [.4]*3, [.3]*3)
    net, noise = create_model('resnet50', len(info.classes), width=8, zero_init_last=False,
                              **sizes).eval(), torch.rand(64, 3, 1, 1)+.2*torch.randn(64, 3, image_size or resolution,
                                  image_size or resolution)
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
    assert list(table) == ['image', 'superclass_index', 'subclass_index', 'superclass_probability',
                           'subclass_probability']
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
    assert 'there is no such record' in command(capsys, 'a-subclass-vit_tiny-0123456789', photos, '--results',
                                                results)[1]

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


@pytest.mark.parametrize('name', CONFIGS)
def test_what_was_kept_with_other_names_of_classes_is_made_again(made, tmp_path, name):
    _, records, _, data = made
    record, t = records[name], records[name].config.target
    note = weights_file(record.run_id).with_suffix('.json')
    place, good = keep_model(record, tmp_path), note.read_text('utf-8')
    for file in (place/'config.json', note):
        file.write_text(json.dumps((known := json.loads(file.read_text('utf-8'))) | {f'{t}es': ['an old name',
            *known[f'{t}es'][1:]]}), 'utf-8')
    try:
        assert not has_model(record, tmp_path)
        assert load_model(keep_model(record, tmp_path)).info.classes == data.names(t) and has_model(record, tmp_path)
    finally: note.write_text(good, 'utf-8')

LOGITS = torch.randn(200, 5, generator=torch.Generator().manual_seed(1))*3
COARSE, PARENT = torch.randn(200, 2, generator=torch.Generator().manual_seed(2))*2, torch.tensor([0, 1, 1, 0, 1])

def test_pairs_by_hand():
    fine, coarse = LOGITS.double().softmax(1), COARSE.double().softmax(1)
    expected = torch.stack([coarse[:, s]*fine[:, c]/fine[:, PARENT == s].sum(1) for c, s in enumerate(PARENT)], 1)
    torch.testing.assert_close(joint(COARSE, LOGITS, PARENT).exp(), expected)
    both = answers(dict(superclass=COARSE, subclass=LOGITS), PARENT)
    assert torch.equal(both['subclass'][0], expected.argmax(1))
    assert torch.equal(both['superclass'][0], PARENT[expected.argmax(1)])
    torch.testing.assert_close(both['subclass'][1].double(), expected.max(1)[0], rtol=1e-6, atol=0)
    torch.testing.assert_close(both['superclass'][1].double(), coarse.gather(1, both['superclass'][0][:, None])[:, 0],
                               rtol=1e-6, atol=0)
    apart = answers(dict(superclass=COARSE, subclass=LOGITS), PARENT, independent=True)
    assert torch.equal(apart['superclass'][0], COARSE.argmax(1)) and torch.equal(apart['subclass'][0], LOGITS.argmax(1))
    assert (PARENT[apart['subclass'][0]] != apart['superclass'][0]).any()
    one = answers(dict(subclass=LOGITS), PARENT, independent=True)
    summed = torch.stack([fine[:, PARENT == s].sum(1) for s in (0, 1)], 1)
    assert torch.equal(one['superclass'][0], summed.argmax(1))
    assert (PARENT[one['subclass'][0]] != one['superclass'][0]).any()
    assert torch.equal(answers(dict(subclass=LOGITS), PARENT)['superclass'][0], PARENT[LOGITS.argmax(1)])

def test_near_ties_and_large_logits_are_those_of_the_test():
    close = torch.tensor([[1., 1+1e-7, 0, 0, 0], [5., 5, 5, 5, 5], [1e4, -1e4, 0, 9999.9995, 0],
                          [float('nan'), 1, 2, 0, 0]])
    found = answers(dict(subclass=close), PARENT)
    assert found['subclass'][0].tolist() == [1, 0, 0, 2]
    assert torch.isfinite(joint(torch.tensor([[1e4, -1e4]]), close[2:3], PARENT)[:, 0]).all()

@pytest.mark.parametrize('name', LOGIT_SCORES)
def test_unknown_by_hand(name):
    p = LOGITS.double().softmax(1).numpy()
    expected = {'maximum softmax': -p.max(1), 'maximum logit': -LOGITS.max(1)[0].numpy(),
                'energy': -np.log(np.exp(LOGITS.double().numpy()).sum(1)), 'entropy': -(p*np.log(p)).sum(1)}
    np.testing.assert_allclose(logit_score(name, LOGITS), expected[name], rtol=1e-4, atol=1e-5)
    level = superclass_logits(LOGITS, PARENT)
    if name == 'energy': np.testing.assert_allclose(logit_score(name, level), expected[name], rtol=1e-6)


@pytest.fixture
def pictures(tmp_path):
    "Twelve noisy pictures, their folder, and a name that sorts otherwise than it was written"
    rng, place = np.random.default_rng(0), tmp_path/'pictures'
    (place/'deep').mkdir(parents=True)
    for name in (*(f'{i}.png' for i in range(10)), 'deep/a.jpg', 'B.PNG'):
        Image.fromarray((rng.integers(0, 256, 3)+rng.normal(0, 50, (20, 28, 3))).clip(0,
            255).astype(np.uint8)).save(place/name)
    return place

def rows(text): return list(csv.reader(io.StringIO(text)))

def test_every_kind_of_input_gives_the_same_rows(tmp_path, pictures, capsys):
    model = random_model(tmp_path/'model')
    out, said = command(capsys, model, pictures)
    assert said is None and rows(out)[0] == ['image', 'superclass_index', 'subclass_index'] and len(rows(out)) == 13
    answer = {name: numbers for name, *numbers in rows(out)[1:]}
    assert len({*map(tuple, answer.values())}) > 1
    with tarfile.open(tmp_path/'all.tar', 'w') as tar: tar.add(pictures, '.')
    archive = {name.removeprefix('./'): numbers for name, *numbers in rows(command(capsys, model,
        tmp_path/'all.tar')[0])[1:]}
    assert archive == answer
    order = ['3.png', 'deep/a.jpg', 'B.PNG', '0.png', '3.png']
    (pictures/'list.csv').write_text('label,image\n'+''.join(f'?,{n}\n' for n in order), 'utf-8')
    assert rows(command(capsys, model, pictures/'list.csv')[0])[1:] == [[n, *answer[n]] for n in order]
    shutil.move(pictures/'list.csv', tmp_path/'list.csv')
    assert rows(command(capsys, model, tmp_path/'list.csv', '--images_dir', pictures)[0])[1:] == [[n, *answer[n]]
        for n in order]
    files = [pictures/n for n in ('9.png', '1.png')]
    assert rows(command(capsys, model, *files)[0])[1:] == [[str(f), *answer[f.name]] for f in files]
    several = rows(command(capsys, model, pictures/'9.png', pictures, tmp_path/'all.tar')[0])[1:]
    assert len(several) == 25 and several[0][0] == str(pictures/'9.png') and several[1][0].startswith(f'{pictures}/')
    assert len({r[0] for r in several}) == 24

def test_names_probabilities_and_json(tmp_path, pictures, capsys):
    model = random_model(tmp_path/'model')
    header, *table = rows(command(capsys, model, pictures, '--names', '--probabilities')[0])
    assert header == ['image', 'superclass_index', 'subclass_index', 'superclass', 'subclass', 'superclass_probability',
                      'subclass_probability']
    info = load_model(model).info
    for _, s, c, superclass, subclass, p, q in table:
        assert (superclass, subclass, info.parent[int(c)]) == (info.superclasses[int(s)], info.subclasses[int(c)],
                                                               int(s))
        assert 0 < float(q) <= float(p) <= 1
    assert command(capsys, model, pictures, '--names', '--out',
                   tmp_path/'a.json')[0] == f'12 of 12 images: {tmp_path}/a.json\n'
    listed = json.loads((tmp_path/'a.json').read_text('utf-8'))
    assert [list(map(str, r.values())) for r in listed] == [r[:5] for r in table] and list(listed[0]) == header[:5]

def test_two_models_of_other_resolutions(tmp_path, pictures, capsys):
    fine, coarse = random_model(tmp_path/'fine'), random_model(tmp_path/'coarse', 'superclass', resolution=12,
                                                               image_size=24, seed=1)
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
    assert command(capsys, model, pictures/'4.png', '--broken',
                   'skip')[1] == 'resvit_predict: error: 1 images, none of them readable: expected at least one'

@pytest.mark.parametrize('options, message', [
    (['model'], 'a model and no image: expected files'), (['nowhere', 'pictures'], 'nowhere: no model folder'),
    (['pictures/1.png', 'pictures'], 'pictures/1.png: no model folder'),
    (['model', 'nowhere'], 'nowhere: missing: expected an image, a folder, an archive or a CSV'),
    (['model', 'pictures', '--out', 'a.txt'], 'expected a name that ends in .csv or .json'),
    (['model', 'pictures', '--out', 'no/a.csv'], 'there is no folder'),
    (['model', 'pictures', '--broken', 'ask'], "broken 'ask': expected one of refuse, skip"),
    (['model', 'empty'], 'empty: no image found'),
    (['model', 'model2', 'pictures'], '2 models of subclass: expected one of superclass and one of subclass'),
    (['model', 'other', 'pictures'], 'two models of different classes'),
    (['model', 'other', 'model2', 'pictures'], '3 models: expected one'),
    (['model', 'out.csv'], "column 'image' missing"), (['model', 'leave.csv'], 'leaves the folder'),
    (['model', 'gone.csv'], 'gone.csv, line 3: 77.png: image missing'),
    (['model', 'pictures', '--mapping', 'empty'], 'superclass_mapping.csv: file missing'),
    (['model', 'torn.tar'], 'not an uncompressed tar archive'), (['model', 'spoilt', 'pictures'], 'spoilt/config.json'),
    (['strange', 'pictures'], "novelty score 'luck': expected one of maximum softmax"),
    (['model', 'pictures', '--out', ''], "out '': expected a value"),
    (['model', ''], "inputs '': expected a model"), (['', 'pictures'], "inputs '': expected a model"),
    (['model', 'pictures', '--mapping', ''], "mapping '': expected a value"),
    (['model', 'pictures', '--images_dir', ''], "images_dir '': expected a value"),
    (['model', 'pictures', '--results', ''], "results '': expected a value"),
    (['model', 'pictures', '--images_dir', 'empty'], 'images_dir empty: no CSV among the images'),
    (['model', 'pictures', '--out', 'x'*252+'.csv'], 'File name too long: expected another name'),
    (['model', 'pictures', '--out', 'lost/a.csv'], 'there is no folder lost'),
    (['model', 'pictures', '--out', 'lost.csv'], 'there already, and no file: expected a file'),
    (['model', 'pictures', '--out', 'settings.json'], 'there already, and not from this command'),
    (['model', 'pictures', '--out', 'cat.csv'], 'there already, and not from this command'),
    (['model', 'unlike', 'like', 'course'], 'like: other numbers of classes than in unlike: expected one of them'),
    (['model', 'pictures', '--mapping', 'twice'],
     "subclass_mapping.csv, line 7: 9 'c' again: expected each number and each class once"),
    (['model', 'pictures', '--mapping', 'shared'],
     "subclass_mapping.csv, line 5: 2 'd' again: expected each number and each class once")])
def test_bad_input_is_one_line_and_writes_nothing(tmp_path, pictures, capsys, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    for name in ('model', 'model2', 'strange'): random_model(tmp_path/name)
    random_model(tmp_path/'other', 'superclass', parent=(0, 1, 1, 0, 0))
    set_novelty(tmp_path/'strange', 0)
    strange = tmp_path/'strange/config.json'
    strange.write_text(strange.read_text('utf-8').replace('"maximum softmax"', '"luck"'), 'utf-8')
    for name, numbers in dict(twice=[(0, 'a'), (1, '"b, b"'), (2, 'c'), (3, '"d ""d"""'), (4, 'e'), (9, 'c')],
                              shared=[(0, 'a'), (1, '"b, b"'), (2, 'c'), (2, 'd')]).items():
        (tmp_path/name).mkdir()
        (tmp_path/name/'superclass_mapping.csv').write_text('index,class\n0,left\n1,right\n', 'utf-8')
        (tmp_path/name/'subclass_mapping.csv').write_text('index,class\n'+''.join(f'{i},{c}\n' for i, c in numbers),
                                                          'utf-8')
    # refused before any picture is read
    monkeypatch.setattr(module, 'decode_block', module.decode_block if 'gone.csv' in options else None)
    for name, number in dict(course=7, like=7, unlike=8).items():
        shutil.copytree(pictures, tmp_path/name/'test_images')
        for t, c in (('superclass', 'left\n1,right'), ('subclass', f'a\n{number},novel')):
            (tmp_path/name/f'{t}_mapping.csv').write_text(f'index,class\n0,{c}\n', 'utf-8')
    os.symlink('nowhere', 'lost'); os.symlink('nowhere', 'lost.csv')
    (tmp_path/'settings.json').write_text('{"image": []}', 'utf-8'); shutil.copy(pictures/'2.png', tmp_path/'cat.csv')
    (tmp_path/'empty').mkdir(); (tmp_path/'spoilt').mkdir(); (tmp_path/'spoilt/config.json').write_text('{', 'utf-8')
    (tmp_path/'out.csv').write_text('file\n1.png\n', 'utf-8'); (tmp_path/'leave.csv').write_text('image\n../x.png\n',
        'utf-8'); (tmp_path/'gone.csv').write_text('image\npictures/1.png\n77.png\n', 'utf-8')
    (tmp_path/'torn.tar').write_bytes(b'x'*600)
    before = sorted(tmp_path.rglob('*'))
    out, said = command(capsys, *options, *(() if '--out' in options else ('--out', 'a.csv')))
    assert out == '' and message in said and said.startswith('resvit_predict: error: ') and '\n' not in said
    assert sorted(tmp_path.rglob('*')) == before

def link(source, target): os.symlink(source, target); return target
def hard_link(source, target): os.link(source, target); return target

OUTS = {
    'the list': lambda p: ([p/'list.csv'], p/'list.csv'), 'the list by another way': lambda p: ([p/'list.csv'],
        p/'pictures/../list.csv'), 'one of two lists': lambda p: ([p/'pictures', p/'list.csv'], p/'list.csv'),
    'a link to the list': lambda p: ([p/'list.csv'], link(p/'list.csv', p/'other.csv')),
    'another name of the list': lambda p: ([p/'list.csv'], hard_link(p/'list.csv', p/'other.json')),
    'a picture': lambda p: ([shutil.copy(p/'pictures/1.png', p/'photo.json')], p/'photo.json'),
    'a picture in a list': lambda p: ([p/'odd.csv'], p/'pictures/photo.json'),
    'the numbers': lambda p: ([p/'pictures', '--mapping', p/'course'], p/'course/subclass_mapping.csv'),
    'a table of the course': lambda p: ([p/'course'], p/'course/train_data.csv'),
    'the model': lambda p: ([p/'pictures'], p/'model/config.json'), 'in the model': lambda p: ([p/'pictures'],
        p/'model/answers.csv'), 'in a link to the model': lambda p: ([p/'pictures'],
            link(p/'model', p/'too')/'answers.csv')}

@pytest.mark.parametrize('make', OUTS.values(), ids=OUTS)
def test_a_table_takes_the_place_of_nothing_that_is_read(tmp_path, pictures, capsys, monkeypatch, make):
    model = random_model(tmp_path/'model')
    shutil.copy(pictures/'2.png', pictures/'photo.json')
    for name, image in (('list', '2.png'), ('odd', 'photo.json')):
        (tmp_path/f'{name}.csv').write_text(f'image\npictures/{image}\n', 'utf-8')
    shutil.copytree(pictures, tmp_path/'course/test_images', ignore=shutil.ignore_patterns('*.json'))
    for name in ('superclass_mapping', 'subclass_mapping', 'train_data'):
        (tmp_path/f'course/{name}.csv').write_text('index,class\n0,a\n', 'utf-8')
    given, out = make(tmp_path)
    before = {p: p.read_bytes() for p in tmp_path.rglob('*') if p.is_file()}
    monkeypatch.setattr(module, 'load_model', None)    # refused before any work
    printed, said = command(capsys, model, *given, '--out', out)
    assert printed == '' and said.startswith(f'resvit_predict: error: out {out}: ')
    assert said.endswith((': expected another name', ': expected another place'))
    assert {p: p.read_bytes() for p in tmp_path.rglob('*') if p.is_file()} == before

def test_a_record_and_the_folder_of_a_run_are_kept(made, capsys, monkeypatch):
    models, records, photos, _ = made
    results, name = models['vit'].parent.parent, records['vit'].run_id
    monkeypatch.setattr(module, 'load_model', None)
    damaged = results/'fractals-subclass-vit_tiny-0123456789.json'
    damaged.write_text('[]', 'utf-8')
    for of in (name, models['vit']):
        for out, end in ((results/f'{name}.json', 'not from this command'), (damaged, 'not from this command'),
                         (models['vit']/'a.csv', 'in the model folder')):
            assert end in command(capsys, of, photos, '--results', results, '--out', out)[1]
    damaged.unlink()

def test_a_table_next_to_the_pictures_is_replaced(tmp_path, pictures, capsys):
    model, out = random_model(tmp_path/'model'), pictures/'answers.csv'
    for _ in range(2): assert command(capsys, model, pictures, '--out', out)[0] == f'12 of 12 images: {out}\n'

@pytest.mark.skipif(sys.platform != 'linux', reason='other systems have no such names')
@pytest.mark.parametrize('suffix', ['.csv', '.json'])
def test_names_that_are_not_utf8(tmp_path, pictures, capsys, suffix):
    model, names = random_model(tmp_path/'model'), [b'stra\xdfe.png', b'na\xefve \xff.png']
    expected = [(n.decode('utf-8', 'surrogateescape'), r[1:]) for n, r in zip(names,
        rows(command(capsys, model, pictures/'1.png', pictures/'2.png')[0])[1:])]
    (tmp_path/'odd').mkdir()
    for n, i in zip(names, (1, 2)): shutil.copy(pictures/f'{i}.png', tmp_path/'odd'/os.fsdecode(n))
    out = tmp_path/f'a{suffix}'
    assert command(capsys, model, tmp_path/'odd', '--out', out) == (f'2 of 2 images: {out}\n', None)
    text = out.read_text('utf-8')
    found = [(n, numbers) for n, *numbers in rows(text)[1:]] if suffix == '.csv' else [(r['image'],
        [str(v) for v in r.values()][1:]) for r in json.loads(text)]
    if suffix == '.csv': expected = [(n.encode(errors='backslashreplace').decode(), r) for n, r in expected]
    assert sorted(found) == sorted(expected)

@pytest.mark.parametrize('added, said', [
    (('IMG_1.HEIC', 'deep/IMG_2.heic'), '2 files of other kinds ('), (('scan.ppm',),
        '1 file of other kinds (scan.ppm)'), (('notes', 'deep/.DS_Store'),
                                              '1 thing of other programs (deep/.DS_Store); left out: 1 file of other '
                                              'kinds (notes)')])
def test_what_lies_among_the_pictures_is_said(tmp_path, pictures, capfd, added, said):
    model = random_model(tmp_path/'model')
    for name in added: (pictures/name).write_bytes(b'x')
    with tarfile.open(tmp_path/'all.tar', 'w') as tar: tar.add(pictures, '.')
    for given in (pictures, tmp_path/'all.tar'):
        resvit_predict.command([str(model), str(given)])
        found = capfd.readouterr()
        assert len(rows(found.out)) == 13 and found.err.startswith(f'{given}: left out: ') and said in found.err
        assert found.err.count('\n') == 1
    shutil.copytree(pictures, tmp_path/'none', ignore=lambda folder, names: [n for n in names
        if n[-4:].lower() in ('.png', '.jpg')])
    for read in (find_images, partial(image_tree, resolution=8)):
        with pytest.raises(InputError, match=r'none: no image found: expected .*; left out: ') as e:
            read(tmp_path/'none')
        assert said in str(e.value)

@pytest.mark.parametrize('harm', [lambda p, other: os.symlink('nowhere.png', p), lambda p, other: os.symlink(other, p),
                                  lambda p, other: os.mkfifo(p)])
@pytest.mark.parametrize('name', ['deep/0.jpg', '4b.png'])
def test_what_is_no_picture_of_the_folder_is_skipped_on_request(tmp_path, pictures, capfd, harm, name):
    model, out = random_model(tmp_path/'model'), tmp_path/'a.csv'
    other = shutil.move(pictures/'9.png', tmp_path/'other.png')
    harm(pictures/name, other)
    assert name in command(capfd, model, pictures, '--out', out)[1] and not out.exists()
    resvit_predict.command([str(model), str(pictures), '--broken', 'skip', '--out', str(out)])
    found = capfd.readouterr()
    assert found.out == f'11 of 12 images: {out}\n' and found.err.startswith(f'skipped: {pictures}')
    assert name in found.err and found.err.count('\n') == 1

def test_what_to_do_about_broken_pictures_is_checked_before_any_is_looked_for(pictures):
    with pytest.raises(InputError, match="broken 'Skip': expected one of refuse, skip"):
        find_images(pictures, broken='Skip')

def test_no_picture_is_decoded_twice_where_some_are_skipped(tmp_path, pictures, monkeypatch):
    for name in ('4.png', '5.png'): (pictures/name).write_bytes(b'')
    decoded, decode_sized = [], decoder.decode_sized
    monkeypatch.setattr(decoder, 'decode_sized', lambda *a: (decoded.append(a[2]), decode_sized(*a))[1])
    net = load_model(random_model(tmp_path/'model'))
    table = predict_images(net, files := find_images(pictures), broken='skip')
    assert len(table) == len(files)-2 and sorted(decoded) == sorted(where for *_, where in files)

def test_the_network_of_the_caller_stays_as_it_is(tmp_path, pictures):
    net = load_model(random_model(tmp_path/'model', resolution=32))
    net.info, before = replace(net.info, precision='bf16'), net.conv1.weight.stride()
    net.train()
    predict_images(net, find_images(pictures))
    assert 'forward' not in vars(net) and net.training and net.conv1.weight.stride() == before

def test_skipping_repeats_no_warning_of_the_decoder(tmp_path, pictures, capfd, recwarn):
    Image.new('RGB', (8, 8)).save(pictures/'5.png', 'JPEG', exif=b'Exif\0\0II*\0\x08\0\0\0\xff\xff')
    Image.new('1', (9_500, 9_500)).save(pictures/'6.png')    # of which Pillow warns
    (pictures/'4.png').write_bytes(b'')
    resvit_predict.command([str(random_model(tmp_path/'model')), str(pictures), '--broken', 'skip'])
    err = capfd.readouterr().err
    assert err.startswith('skipped: ') and err.count('\n') == 1 and not [w for w in recwarn if 'PIL' in w.filename]

def test_a_table_of_classes_beside_ones_own_pictures_makes_no_course(tmp_path, pictures):
    (pictures/'colour_mapping.csv').write_text('index,class\n0,red\n', 'utf-8')
    assert len(find_images(pictures)) == 12
    for p in pictures.glob('*.*'): p.suffix.lower() == '.png' and p.unlink()
    with pytest.raises(InputError, match='file missing: expected train_data.csv'): find_images(pictures)

@pytest.mark.parametrize('name', ['a\rb.png', '\r.png', 'a\r\nb, c.png', '"\r".png'])
def test_names_with_a_carriage_return(tmp_path, pictures, capsys, name):
    model = random_model(tmp_path/'model')
    (tmp_path/'odd').mkdir()
    for n, i in ((name, 1), ('z.png', 2)): shutil.copy(pictures/f'{i}.png', tmp_path/'odd'/n)
    plain = rows(command(capsys, model, pictures/'1.png', pictures/'2.png', '--names', '--probabilities')[0])
    command(capsys, model, tmp_path/'odd', '--names', '--probabilities', '--out', tmp_path/'a.csv')
    with open(tmp_path/'a.csv', encoding='utf-8', newline='') as f: found = [*csv.reader(f)]
    assert [r[1:] for r in found] == [r[1:] for r in plain] and [r[0] for r in found] == ['image', name, 'z.png']

@pytest.mark.parametrize('slashes', ['', '/', '//'])
def test_names_below_a_folder_have_one_slash(tmp_path, pictures, monkeypatch, slashes):
    monkeypatch.chdir(tmp_path)
    assert {'pictures/1.png', 'pictures/deep/a.jpg', 'pictures/3.png'} <= {name
        for name, *_ in find_images([f'pictures{slashes}', 'pictures/3.png'])}

def test_one_place_is_a_place(tmp_path, pictures, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for given in ('pictures', './pictures/', Path('pictures'), pictures):
        assert find_images(given) == find_images([given]) and len(find_images(given)) == 12
    assert find_images('pictures/1.png') == [('pictures/1.png', Path('pictures/1.png'), 'pictures/1.png')]
    assert len(find_images(p for p in ('pictures', 'pictures/1.png'))) == 13
    for bad in ('', [''], ['pictures', '']):
        with pytest.raises(InputError, match="^image '': expected an image, a folder, an archive or a CSV$"):
            find_images(bad)
    with pytest.raises(InputError, match='^images_dir : folder or archive missing$'): find_images('pictures', '')
    with pytest.raises(InputError, match='^photos: missing: expected an image'): find_images('photos')

def test_networks_that_can_be_asked(tmp_path, pictures):
    net, images = load_model(random_model(tmp_path/'model')), find_images(pictures)
    pd.testing.assert_frame_equal(predict_images(net, images), predict_images([net], images))
    plain = create_model('resnet50', 5, width=8)
    for nets, message in (([], 'no model: expected one, or one for each level'), ((), 'no model: expected one'),
                          (plain, 'HubResNet: without names of classes: expected a model from load_model'),
                          ([net, plain], 'HubResNet: without names'), (torch.nn.Linear(2, 2), 'Linear: without names'),
                          ([str(tmp_path/'model')], 'str: without names')):
        with pytest.raises(InputError, match=f'^{message}'): predict_images(nets, images)
    net.reset_classifier(5)
    with pytest.raises(InputError, match='without names'): predict_images(net, images)

def test_numbers_of_classes_are_read_before_any_picture(tmp_path, pictures, monkeypatch):
    net, images = load_model(random_model(tmp_path/'model', 'superclass')), find_images(pictures)
    monkeypatch.setattr(module, 'decode_block', None)
    for text, message in (('3,left\n4,right\n3,novel\n', "line 4: 3 'novel' again"),
                          ('3,left\n4,right\n5,left\n', "line 4: 5 'left' again"),
                          ('3,left\n', "class 'right' missing"), ('3,left\n-1,right\n', 'expected an integer')):
        (tmp_path/'superclass_mapping.csv').write_text('index,class\n'+text, 'utf-8')
        with pytest.raises(InputError, match=message): predict_images(net, images, mapping=tmp_path)

def test_a_table_is_written_whole_or_not_at_all(tmp_path, pictures, capsys, monkeypatch):
    model, out = random_model(tmp_path/'model'), tmp_path/'a.csv'
    out.write_text('old', 'utf-8')
    def full(*args): raise OSError(28, 'No space left on device')
    with monkeypatch.context() as m:
        m.setattr('os.fsync', full)
        assert command(capsys, model, pictures, '--out',
                       out)[1] == f'resvit_predict: error: {out}: cannot be written (No space left on device)'
    assert out.read_text('utf-8') == 'old'
    assert sorted(p.name for p in tmp_path.iterdir()) == ['a.csv', 'model', 'pictures']

@pytest.mark.parametrize('level, score', [('superclass', 'maximum softmax'), ('subclass', 'entropy'),
                                          ('superclass', 'energy')])
def test_novel_images(tmp_path, pictures, capsys, level, score):
    model = random_model(tmp_path/'model')
    plain = rows(command(capsys, model, pictures, '--names')[0])[1:]
    net = module.ready(load_model(model))
    logits = module.image_logits(net, module.decode_block(find_images([pictures]), 16, 'refuse')[0])
    own = logit_score(score, logits if level == 'subclass' else superclass_logits(logits,
        torch.tensor(net.info.parent)))
    threshold = float(own.sort()[0][6])
    set_novelty(model, threshold, score, level)
    for row, was, novel in zip(rows(command(capsys, model, pictures, '--names')[0])[1:], plain, own > threshold,
                               strict=True):
        expected = was if not novel else [was[0], *((was[1], '5', was[3]) if level == 'subclass'
                                                    else ('2', '5', 'novel')), 'novel']
        assert row == expected

def test_a_course_folder_has_its_own_numbers(tmp_path, pictures, capsys):
    model, course = random_model(tmp_path/'model'), tmp_path/'course'
    set_novelty(model, -2, 'maximum softmax')    # all are novel
    plain = rows(command(capsys, model, pictures)[0])[1:]
    shutil.copytree(pictures, course/'test_images')
    tables = dict(superclass=[(4, 'right'), (9, 'novel'), (2, 'left')],
                  subclass=[(0, 'e'), (50, '"b, b"'), (3, 'c'), (7, '"d ""d"""'), (1, 'a'), (87, 'novel')])
    for t, own in tables.items():
        (course/f'{t}_mapping.csv').write_text('index,class\n'+''.join(f'{i},{c}\n' for i, c in own), 'utf-8')
    assert [r[1:] for r in rows(command(capsys, model, course)[0])[1:]] == [[['2', '4'][int(s)], '87']
        for _, s, _ in plain]
    set_novelty(model, 0, 'maximum softmax')     # none is
    known = rows(command(capsys, model, pictures)[0])[1:]
    assert [r[1:] for r in rows(command(capsys, model, course)[0])[1:]] == [[['2', '4'][int(s)],
        ['1', '50', '3', '7', '0'][int(c)]] for _, s, c in known]
    assert rows(command(capsys, model, pictures, '--mapping', course)[0]) == rows(command(capsys, model, course)[0])
    (course/'subclass_mapping.csv').write_text('index,class\n0,a\n', 'utf-8')
    assert 'subclass_mapping.csv: class \'b, b\' missing: expected every class of the model' in command(capsys, model,
        course)[1]


# ---- a model folder as the beginning

train_said = partial(command, of=resvit_train)

TINY = '--n_per_subclass 10 --resolution 16 --image_size 16 --width 8 --epochs 1 --split 8:1:1'.split()

def test_a_model_folder_is_known_by_its_content(made, capsys, tmp_path):
    models, records, _, _ = made
    place, store = tmp_path/'start.model', ('--results', tmp_path/'results')
    def ids(): return {p.stem for p in (tmp_path/'results').glob('*.json')}
    shutil.copytree(models['superclass'], place)
    out, said = train_said(capsys, *TINY, '--target', 'subclass', '--weights', place, *store)
    (first,) = ids()
    record = read_record(tmp_path/'results'/f'{first}.json')
    begun = (place/'model.safetensors').read_bytes()
    assert said is None and str(place) not in json.dumps(record.config.__dict__) and 'pre-trained (' in out
    assert record.weights['begun'] == json.loads((place/'config.json').read_text('utf-8'))['sha256']
    assert record.data['classes'] == 87
    place.rename(tmp_path/'elsewhere')
    assert train_said(capsys, *TINY, '--target', 'subclass', '--weights', tmp_path/'elsewhere', *store)[1] is None
    assert ids() == {first}
    shutil.copytree(models['subclass'], place)    # another network under the same path
    assert train_said(capsys, *TINY, '--target', 'subclass', '--weights', place, *store)[1] is None and len(ids()) == 2
    config = replace(record.config, seed=7)    # the cache has the weights, wherever the folder went
    shutil.rmtree(tmp_path/'elsewhere')
    assert run(config, tmp_path/'results').weights['begun'] == record.weights['begun']
    weights_file(record.config.weights).write_bytes(begun[:-1]+b'?')
    with pytest.raises(InputError, match='or damaged there: expected the model folder'):
        run(replace(config, seed=8), tmp_path/'results')

def test_the_beginning_is_the_network_of_the_folder(made):
    models, _, _, _ = made
    net = load_model(models['superclass'])
    for target, same in (('superclass', True), ('subclass', False)):
        config = adopt_model(replace(SMALL, target=target, weights=str(models['superclass'])))
        start = module_runs.make_model(config, 3 if same else 87, weights_file(config.weights))
        assert all(torch.equal(v, start.state_dict()[k]) for k, v in net.state_dict().items() if same
                   or not k.startswith('fc.'))
        assert adopt_model(config) == config and module_runs.channel_stats(config) == (net.info.mean, net.info.std)
    # places are resized
    vit = adopt_model(replace(CONFIGS['vit'], target='superclass', image_size=24, weights=str(models['vit'])))
    assert module_runs.make_model(vit, 3, weights_file(vit.weights)).pos_embed.shape[1] == 37

def test_folders_with_other_normalisation_are_other_beginnings(tmp_path, monkeypatch):
    monkeypatch.setenv('RESVIT_CACHE', str(tmp_path/'cache'))
    net = load_model(random_model(tmp_path/'a'))
    save_model(net, replace(net.info, mean=[.5]*3), tmp_path/'b')
    a, b = (adopt_model(replace(SMALL, weights=str(tmp_path/n))) for n in 'ab')
    assert a.weights != b.weights and [module_runs.channel_stats(c)[0] for c in (a, b)] == [[.4]*3, [.5]*3]

def damaged(folder): (folder/'model.safetensors').write_bytes((folder/'model.safetensors').read_bytes()[:-1]+b'?')
def emptied(folder): (folder/'config.json').unlink()
def of_another(folder): (folder/'config.json').write_text('{"width": 8}', 'utf-8')
def no_weights(folder): (folder/'model.safetensors').unlink()

@pytest.mark.parametrize('harm, options, message', [
    (damaged, (), 'damaged or changed (sha256 '),
    (emptied, (), 'no model folder: expected config.json and model.safetensors in it'),
    (of_another, (), 'not written by resvit_nb'), (no_weights, (), 'file missing: expected the weights'),
    (None, ('--width', '16'), "entry 'conv1.weight': expected [16, 3, 7, 7], found [8, 3, 7, 7]"),
    (None, ('--small_stem',), "entry 'conv1.weight': expected"),
    (None, ('--model', 'vit_tiny', '--width', '64'), "expected [1, 1, 192], found nothing")])
def test_a_folder_that_is_no_beginning_is_refused_in_one_line(made, tmp_path, capsys, harm, options, message):
    place = shutil.copytree(made[0]['superclass'], tmp_path/'start')
    if harm: harm(place)
    before = sorted(tmp_path.rglob('*'))
    out, said = train_said(capsys, *TINY, *options, '--weights', place, '--results', tmp_path/'results')
    assert out == '' and message in said and 'start' in said and '\n' not in said
    assert sorted(tmp_path.rglob('*')) == before

def test_a_folder_that_is_there_is_not_loaded(made, capsys, monkeypatch):
    models, records, _, _ = made
    monkeypatch.setattr('resvit_nb.runs.make_model', None)    # whoever makes a network, fails
    results = models['superclass'].parent.parent
    read = []
    monkeypatch.setattr('resvit_nb.model_info.digest', lambda path: read.append(Path(path).name)
                        or json.loads((models['superclass']/'config.json').read_text('utf-8'))['sha256'])
    assert f"model: {models['superclass']}" in train_said(capsys, *TINY, '--keep', '--results', results)[0]
    assert read == ['model.safetensors']*2    # checked before the work, and when it is found there


# ---- what a split sets aside

def write_photos(place, kinds, each, size=16, seed=0):
    "Plain pictures of a colour a kind, in folders superclass/subclass"
    rng = np.random.default_rng(seed)
    for s, own in kinds.items():
        for k, colour in own.items():
            (place/s/k).mkdir(parents=True)
            for i in range(each):
                Image.fromarray((np.array(colour)+rng.normal(0, 12, (size, size, 3))).clip(0,
                    255).astype(np.uint8)).save(place/s/k/f'{i:02}.png')
    return place

KINDS = {'warm': dict(red=(220, 20, 20), orange=(240, 140, 20), yellow=(240, 240, 40), brown=(110, 60, 20),
                      pink=(250, 150, 180)),
         'cold': dict(blue=(20, 20, 220), green=(20, 160, 40), cyan=(40, 220, 230), violet=(110, 30, 180),
                      teal=(0, 110, 110))}

def test_a_tree_with_classes_aside_leaves_a_threshold(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv('RESVIT_CACHE', str(tmp_path/'cache'))
    tree, common = write_photos(tmp_path/'tree', KINDS, 30), ('--data', 'image_tree', '--resolution', 16,
                                                              '--image_size', 16, '--width', 8, '--recipe', 'one-cycle')
    common += ('--split', 'novel:20', '--keep', '--results', tmp_path/'results', '--data_dir', tree)
    out, said = train_said(capsys, *common, '--target', 'subclass', '--epochs', 8)
    model = Path(re.search(r'^model: (.*)$', out, re.M)[1])
    info = load_model(model).info
    assert said is None and len(info.subclasses) == 6 and info.novelty['level'] == 'subclass'
    assert info.novelty['score'] in LOGIT_SCORES
    assert f"novel: {info.novelty['score']} above {info.novelty['threshold']:.3f}, on the level of subclasses" in out
    record = read_record(tmp_path/'results'/f'{model.name}.json')
    data = images_of(record.config, tree)
    split = module_runs.find_split('novel:20')(data, 0)
    net = module.ready(load_model(model))
    def novel(part):
        return (logit_score(info.novelty['score'], module.image_logits(net,
            data.images[split[part]])) > info.novelty['threshold']).float().mean()
    assert novel('valid') < novel('thresholds')    # it was chosen on these
    tables = dict(superclass=['novel', *KINDS], subclass=['novel', *(k for own in KINDS.values() for k in own)])
    for t, names in tables.items():
        (tmp_path/f'{t}_mapping.csv').write_text('index,class\n'+''.join(f'{7*i},{c}\n' for i, c in enumerate(names)),
                                                 'utf-8')
    table = rows(command(capsys, model, tree, '--mapping', tmp_path, '--names')[0])[1:]
    called = {r[2] for r in table if r[4] == 'novel'}
    assert called == {'0'} and {r[3] for r in table} == {*KINDS}
    assert all(tables['subclass'][int(r[2])//7] == r[4] for r in table)
    trained = [r[4] for r in table if r[0].split('/')[1] in info.subclasses]
    others = [r[4] for r in table if r[0].split('/')[1] not in info.subclasses]
    assert np.mean([c == 'novel' for c in others]) > np.mean([c == 'novel' for c in trained])
    # a new colour is warm or cold all the same
    out, _ = train_said(capsys, *common, '--target', 'superclass', '--epochs', 1)
    assert 'novel: ' not in out and load_model(re.search(r'^model: (.*)$', out, re.M)[1]).info.novelty is None


# ---- a course's submission

def write_course(place, each=20):
    "A course's folder, its numbers odd, and the right answers to its test images"
    tree = write_photos(place.parent/'tree', KINDS, each)
    strange = write_photos(place.parent/'strange', {'warm': {'white': (250, 240, 230)}, 'cold': {'black': (5, 5, 15)}},
                           6)
    numbers = dict(superclass={'cold': 1, 'novel': 8, 'warm': 5}, subclass={k: 90-3*i
        for i, k in enumerate(k for own in KINDS.values() for k in own)} | dict(novel=200))
    for name in ('train_images', 'test_images'): (place/name).mkdir(parents=True)
    table, answers = ['image,superclass_index,subclass_index,description'], {}
    for n, file in enumerate([*sorted(tree.rglob('*.png')), *sorted(strange.rglob('*.png'))]):
        s, k = file.parts[-3:-1]
        own = numbers['superclass'][s], numbers['subclass'].get(k, 200)
        test = k not in KINDS[s] or n % 10 == 0
        if test: answers[f'{n}.png'] = own
        else: table.append(f'{n}.png,{own[0]},{own[1]},"a {k}, {s}"')
        shutil.copy(file, place/('test_images' if test else 'train_images')/f'{n}.png')
    (place/'train_data.csv').write_text('\n'.join(table)+'\n', 'utf-8')
    for t, of in numbers.items():
        (place/f'{t}_mapping.csv').write_text('index,class\n'+''.join(f'{i},{c}\n' for c, i in of.items()), 'utf-8')
    return place, answers

def submit_said(capsys, *options):
    "What `resvit_submit` printed, and what it said at its end"
    said = None
    try: resvit_submit.command([*map(str, options)])
    except SystemExit as e: said = str(e.code)
    return capsys.readouterr().out, said

def test_a_submission_from_the_folder_alone(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv('RESVIT_CACHE', str(tmp_path/'cache'))
    course, right = write_course(tmp_path/'course')
    common = (course, '--profile', 'smoke', '--epochs', 8, '--n_jobs', 1, '--results', tmp_path/'results', '--out',
              tmp_path/'a.csv')
    out, said = submit_said(capsys, *common)
    assert said is None
    header, *table = rows((tmp_path/'a.csv').read_text('utf-8'))
    assert header == ['image', 'superclass_index', 'subclass_index'] and [r[0] for r in table] == sorted(right)
    known = [r for r in table if right[r[0]][1] != 200]
    # no superclass is novel
    assert np.mean([int(r[1]) == right[r[0]][0] for r in known]) > .7 and {int(r[1]) for r in table} <= {1, 5}
    novel = sum(r[2] == '200' for r in table)
    assert re.search(rf'a.csv: novel: superclass of 0, subclass of {novel} of {len(right)} images', out)
    assert {int(r[2]) for r in table} <= {*range(63, 91, 3), 200}
    configs = submission_configs('smoke', epochs=8)
    folders = {k: model_folder(run_id(c), tmp_path/'results') for k, c in configs.items()}
    assert [len(load_model(folders['subclass', s]).info.subclasses) for s in (ALL, ASIDE)] == [10, 6]
    lent, own = (load_model(folders['subclass', s]).info.novelty for s in (ALL, ASIDE))
    assert lent['score'] == own['score'] and load_model(folders['superclass', ALL]).info.novelty is None
    shares = re.search(r'^kinds that they never saw +(\d+) +([01]\.\d{3}) +([01]\.\d{3}) +([01]\.\d{3})$', out,
                       re.M)
    assert int(shares[1]) == 36 and shares[3] == shares[4] and 'trained on 6 of the 10 subclasses' in out
    assert 'hidden labels are not known' in out
    before = (tmp_path/'a.csv').read_bytes()
    monkeypatch.setattr('resvit_nb.runs.train', None)    # whoever trains now, fails
    shutil.rmtree(folders['superclass', ALL])
    again, said = submit_said(capsys, *common)
    def end(text): return text[text.index('a.csv: novel'):]
    assert (end(again), said, (tmp_path/'a.csv').read_bytes()) == (end(out), None, before)
    assert command(capsys, folders['superclass', ALL], folders['subclass', ALL], course)[0].encode() == before
    # the expectation, by hand: the pair of networks on the subclasses that chose nothing
    data = images_of(configs['subclass', ALL], course)
    split = module_runs.find_split(ASIDE)(data, 0)
    names = [data.subclasses[c] for c in np.setdiff1d(data.subclass[split['test']], data.subclass[split['train']])]
    tests = tmp_path/'held'
    tests.mkdir()
    for i in np.flatnonzero(np.isin(data.subclass, [data.subclasses.index(n) for n in names])):
        shutil.copy(course/'train_images'/data.files[i], tests)
    said = rows(command(capsys, folders['superclass', ASIDE], folders['subclass', ASIDE], tests, '--names')[0])[1:]
    assert f"{np.mean([r[4] == 'novel' for r in said]):.3f}" == shares[3]

def test_a_submission_with_names_that_are_not_utf8(tmp_path, capsys, monkeypatch):
    table = pd.DataFrame(dict(image=['gr\udcfcn.png', 'b.png'], superclass_index=[1, 2], subclass_index=[3, 4],
                              superclass=['a', 'novel'], subclass=['c', 'novel']))
    found = dict(check_folder=(argparse.Namespace(resolution=16), []), describe_data='a course',
                 train_models={(t, ALL): 'm' for t in ('superclass', 'subclass')}, submit=(table, 'as expected'),
                 keep_memory=None)
    for name, value in found.items(): monkeypatch.setattr(f'resvit_nb.submit.{name}', lambda *args, value=value: value)
    out, said = command(capsys, tmp_path, '--out', tmp_path/'a.csv', '--results', tmp_path/'results', of=resvit_submit)
    assert said is None
    assert (tmp_path/'a.csv').read_text('utf-8') == (
        'image,superclass_index,subclass_index\ngr\\udcfcn.png,1,3\nb.png,2,4\n')

def test_superclasses_that_are_novel(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv('RESVIT_CACHE', str(tmp_path/'cache'))
    course, right = write_course(tmp_path/'course')
    others = {f'thing{i}': {f'kind{i}{j}': (250-20*j, 250-9*i, 250) if j % 2 else (10*j, 5, 8*i) for j in range(2)}
              for i in range(2)}
    place = write_photos(tmp_path/'others', others, 12)
    common = (course, '--profile', 'smoke', '--epochs', 2, '--n_jobs', 1, '--results', tmp_path/'results', '--others',
              place)
    out, said = submit_said(capsys, *common, '--out', tmp_path/'a.csv')
    assert said is None and re.search(r'^pictures of none of the superclasses +24 ', out, re.M)
    table = rows((tmp_path/'a.csv').read_text('utf-8'))[1:]
    assert all(r[2] == '200' for r in table if r[1] == '8') and {r[1] for r in table} <= {'1', '5', '8'}
    model = model_folder(run_id(submission_configs('smoke', epochs=2)['superclass', ALL]), tmp_path/'results')
    assert load_model(model).info.novelty['level'] == 'superclass'
    (course/'superclass_mapping.csv').write_text('index,class\n1,cold\n5,warm\n', 'utf-8')
    out, said = submit_said(capsys, *common, '--out', tmp_path/'b.csv')
    assert "superclass_mapping.csv: class 'novel' missing" in said and not (tmp_path/'b.csv').exists()

def test_thresholds_of_an_earlier_submission_do_not_stay(tmp_path, monkeypatch):
    configs, new = submission_configs('smoke'), dict(score='entropy', threshold=.5, level='subclass')
    folders = {key: random_model(tmp_path/f'{i}', key[0]) for i, key in enumerate(configs)}
    for key, folder in folders.items(): set_novelty(folder, -.3, level=key[0])
    before = [(f/'model.safetensors').read_bytes() for f in folders.values()]
    for name, value in dict(find_thresholds={key: new if key[0] == 'subclass' else None for key in configs},
                            expectations={},
                            predict_images='answers').items(): monkeypatch.setattr(f'resvit_nb.submit.{name}',
                                lambda *args, value=value, **options: value)
    assert submit(configs, folders, None, [], None, tmp_path)[0] == 'answers'
    assert {key: load_model(f).info.novelty for key, f in folders.items()} == {key: new if key[0] == 'subclass'
        else None for key in configs}
    assert [(f/'model.safetensors').read_bytes() for f in folders.values()] == before

def no_novel(course):
    (course/'subclass_mapping.csv').write_text((course/'subclass_mapping.csv').read_text('utf-8').replace('200,novel\n',
        ''), 'utf-8')
def broken_test(course): next((course/'test_images').iterdir()).write_bytes(b'GIF89a')
def broken_train(course): next((course/'train_images').iterdir()).write_bytes(b'')
def none_to_answer(course): shutil.rmtree(course/'test_images'); (course/'test_images').mkdir()
def no_tests(course): (course/'test_images').rename(course/'test_shuffle')
def few(course):
    lines = (course/'train_data.csv').read_text('utf-8').splitlines()
    (course/'train_data.csv').write_text('\n'.join([lines[0], *lines[1:200:6]])+'\n', 'utf-8')

@pytest.mark.parametrize('harm, options, message', [
    (no_novel, (), "subclass_mapping.csv: class 'novel' missing"), (broken_test, (), 'not a readable image'),
    (broken_train, (), 'not a readable image'), (none_to_answer, (), 'test_images: no image found'),
    (no_tests, (), 'test_images: folder missing: expected train_data.csv (image,superclass_index,subclass_index), '
                   'superclass_mapping.csv and subclass_mapping.csv (index,class), and the '
                   'images in train_images/ and test_images/; found subclass_mapping.csv, superclass_mapping.csv, '
                   'test_shuffle/, train_data.csv, train_images/'),
    (few, (), 'too few to split 8:1:1'), (None, ('--out', 'a.json'), 'out a.json: expected a name that ends in .csv'),
    (None, ('--out', 'no/a.csv'), 'there is no folder'),
    (None, ('--profile', 'huge'), "profile 'huge': expected one of smoke, quick, paper"),
    (None, ('--model', 'vgg'), "model 'vgg': expected one of resnet50"),
    (None, ('--epochs', '0'), 'epochs 0: expected an integer'),
    (None, ('--others', 'nowhere'), 'others nowhere: folder or archive missing'),
    (None, ('--weights', 'nowhere'), "weights 'nowhere': expected none, imagenet"),
    (None, ('--n_jobs', '0'), 'n_jobs 0')])
def test_a_bad_course_is_refused_before_any_training(tmp_path, capsys, monkeypatch, harm, options, message):
    monkeypatch.setenv('RESVIT_CACHE', str(tmp_path/'cache')); monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('resvit_nb.runs.train', None)
    course, _ = write_course(tmp_path/'course')
    if harm: harm(course)
    out, said = submit_said(capsys, course, '--profile', 'smoke', '--results', 'results', *options)
    assert message in said and said.startswith('resvit_submit: error: ') and '\n' not in said
    assert not [p for p in tmp_path.rglob('*.csv') if p.parent != course] and not (tmp_path/'results').exists()

@pytest.mark.parametrize('ask', [lambda c: (resvit_submit, [c]), lambda c: (resvit_data,
    ['--data', 'bird_dog_reptile', '--data_dir', c]),
                                 lambda c: (resvit_train, ['--data', 'bird_dog_reptile', '--data_dir', c]),
                                 lambda c: (resvit_predict, [c.parent/'model', c])])
def test_another_edition_is_refused_with_both_layouts(tmp_path, capsys, monkeypatch, ask):
    "As the course of another year hands it out: other names, folders by number, pictures of 8 px"
    monkeypatch.chdir(tmp_path)
    edition, rng = tmp_path/'edition', np.random.default_rng(0)
    random_model(tmp_path/'model')
    for name in ('train_shuffle/0', 'train_shuffle/1', 'test_shuffle'):
        (edition/name).mkdir(parents=True)
        for i in range(3):
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(edition/name/f'{i}.jpg')
    (edition/'train_data.csv').write_text('image,superclass_index,subclass_index\n0.jpg,0,1\n', 'utf-8')
    for name in ('super', 'sub'):
        (edition/f'{name}_classes_mapping.csv').write_text('index,class\n0,bird\n3,novel\n', 'utf-8')
    f, options = ask(edition)
    before = sorted(tmp_path.rglob('*'))
    with pytest.raises(SystemExit) as e: f.command([*map(str, options)])
    said = str(e.value.code)
    assert ('expected train_data.csv (image,superclass_index,subclass_index), superclass_mapping.csv and '
            'subclass_mapping.csv (index,class), and the images in train_images/') in said
    found = 'found sub_classes_mapping.csv, super_classes_mapping.csv, test_shuffle/, train_data.csv, train_shuffle/'
    assert found in said
    assert '\n' not in said
    assert sorted(tmp_path.rglob('*')) == before


# ---- commands and names, from outside

def process(code):
    return subprocess.run([sys.executable, '-c', code], capture_output=True, encoding='utf-8', cwd=ROOT)

def as_script(name, *options):
    return process(f"import sys; sys.argv = {[name, *options]!r}; from resvit_nb.commands import main; main(); "
                   f"print('torch' in sys.modules)")

@pytest.mark.parametrize('name', COMMANDS)
def test_stored_help_is_what_the_command_prints(name, monkeypatch):
    monkeypatch.setenv('COLUMNS', '80')
    assert json.loads(HELP.read_text('utf-8'))[name] == help_text(name).splitlines(), 'run `make export`'

@pytest.mark.parametrize('name', COMMANDS)
def test_help_has_an_example_that_the_command_understands(name):
    command, *options = find_command(name).__doc__.split('Example: ')[1].split()
    assert command == name and parser_of(find_command(name)).parse_args(options)

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
    assert (done.returncode, done.stdout) == (1, '')
    assert done.stderr == 'resvit_train: error: drop 1.0: expected a rate of at least 0 and below 1\n'

def test_names_at_the_top():
    code = (
        "import sys, resvit_nb; assert {'create_model', '__version__'} <= {*dir(resvit_nb)}; from resvit_nb import "
        "commands; assert 'torch' not in sys.modules; ")
    code += (
        "net = resvit_nb.create_model('resnet50', 3, width=8); help(resvit_nb.create_model); assert 'fastai' not in "
        "sys.modules; resvit_nb.nothing")
    done = process(code)
    assert "Dropout rate before the classifier, 0 <= drop < 1" in done.stdout
    assert done.stderr.endswith("AttributeError: module 'resvit_nb' has no attribute 'nothing'\n")

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
losses = [r.epochs[0]['train_loss'] for r in (plain, smooth)]
print(runs.__file__, run_id(config), *losses, brief(smooth.config), sep='|')
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
            file.write_text(file.read_text('utf-8').replace(old, new), 'utf-8')
    done = subprocess.run([sys.executable, '-c', TRY], capture_output=True, encoding='utf-8', cwd=tmp_path,
                          env=os.environ | {'PYTHONPATH': str(tmp_path)})
    where, name, plain, smooth, words = done.stdout.splitlines()[-1].split('|')
    assert where.startswith(str(tmp_path)) and name == run_id(replace(SMALL, split='3:1:6'))
    assert plain != smooth and 'smoothing 0.5' in words
    assert done.stderr.endswith('smoothing 1.0: expected a rate of at least 0 and below 1\n')

@pytest.mark.parametrize('config', ['{}', '{"model": "EOS 5D"}', 'null', '{"for'])
def test_pictures_next_to_somebodys_configuration(tmp_path, pictures, config):
    (tmp_path/'pictures/config.json').write_text(config, 'utf-8')
    model = str(random_model(tmp_path/'model'))
    assert module.split_inputs([model, str(tmp_path/'pictures')]) == ([model], [str(tmp_path/'pictures')])
    (tmp_path/'model/config.json').write_text(config, 'utf-8')    # with its weights, it is a damaged model
    assert module.is_model(model)

@pytest.mark.parametrize('inputs', [None, 3, [3], [None, 'a'], b'a', [['a']]])
def test_inputs_that_are_no_places(inputs):
    with pytest.raises(InputError, match='expected an image, a folder, an archive or a CSV, by its path'):
        find_images(inputs)

def test_images_that_nobody_listed(tmp_path, pictures):
    net = load_model(random_model(tmp_path/'model'))
    for images in (None, 'photos', [tmp_path/'pictures'], ['a', 'b'], [Image.new('RGB', (8, 8))], [('a', 'b')]):
        with pytest.raises(InputError, match='^images .*: expected what find_images gives'): predict_images(net, images)

def test_a_folder_for_names_is_a_folder(tmp_path, pictures):
    (tmp_path/'a.csv').write_text('image\n1.png\n', 'utf-8'); (tmp_path/'a.tar').write_bytes(b'')
    with pytest.raises(InputError, match='a.tar: expected a folder'): find_images(tmp_path/'a.csv', tmp_path/'a.tar')

@pytest.mark.parametrize('of_table, of_model', [('Ñu', 'N\u0303u'), ('N\u0303u', 'Ñu'), (' Ñu ', 'Ñu'), ('Ñu', 'Ñu ')])
def test_a_mapping_may_code_letters_in_another_way(tmp_path, of_table, of_model):
    (tmp_path/'subclass_mapping.csv').write_text(f'index,class\n7,"{of_table}"\n5,ox\n', 'utf-8')
    assert module.table_numbers(['ox', of_model], 'subclass', tmp_path).tolist() == [5, 7, -1]

def test_pictures_next_to_those_of_a_course_are_said(tmp_path, pictures, capfd):
    (tmp_path/'course').mkdir(); (tmp_path/'pictures').rename(tmp_path/'course/test_images')
    (tmp_path/'course/superclass_mapping.csv').write_text('index,class\n0,left\n', 'utf-8')
    shutil.copy(next((tmp_path/'course/test_images').rglob('*.png')), tmp_path/'course/late\x1b.JPG')
    assert len(find_images(tmp_path/'course'))
    assert rf'left out: 1 image next to test_images (late\x1b.JPG)' in capfd.readouterr().err
