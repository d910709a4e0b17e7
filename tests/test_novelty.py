"Classes that nobody trained on: splits of odd data sets, scores against formulas of our own, thresholds, damage"
import json, os, shutil
from pathlib import Path
import numpy as np, pytest, torch
from hypothesis import given, settings, strategies as st
from scipy.special import logsumexp, softmax
from scipy.stats import entropy
from torch import nn
from resvit_nb.core import InputError
from resvit_nb.images import NOVEL, SPLITS, as_trained, find_split, held_out, hierarchical_images, novel_split
from resvit_nb.sources import load_data
from resvit_nb.scores import NEVER, score_images, summarise
from conftest import ROOT
from resvit_nb.novelty import (
    FEATURE_SCORES, LOGIT_SCORES, SCORES, Outputs, choose_threshold, decide, fit_scores, lend_novelty, logit_score,
    novel_by_logits, novelty_entry, same_share, seen_unseen, separation)
from resvit_nb.config import RunConfig, run_id
from resvit_nb.records import read_record, record_path
from resvit_nb.model_folders import check_model
from resvit_nb.runs import images_of, keep_model, read_note, weights_file
from resvit_nb.audit import against_data
from resvit_nb.novel_runs import (
    by_class, chance_fractals, foreign_classes, foreign_images, foreign_parts, make_novel, measures, novel_configs,
    read_novel, score_run, scores_path)
from resvit_nb.novel_report import NovelBody, answer_words, gather_novel, novel_words, resvit_novel

DATA = os.environ.get('RESVIT_TEST_DATA')
needs_data = pytest.mark.skipif(not DATA, reason='RESVIT_TEST_DATA names no folder of real images')

def made(kinds, each=10):
    "A data set with so many subclasses of each superclass, numbered at random"
    rng = np.random.default_rng(sum(kinds))
    parent = rng.permutation(np.arange(len(kinds)).repeat(kinds))
    subclass = rng.permutation(np.arange(len(parent)).repeat(each))
    images = rng.integers(0, 256, (len(subclass), 3, 8, 8), dtype=np.uint8)
    return hierarchical_images(images, parent[subclass], subclass, [f's{i}' for i in range(len(kinds))],
                               [f'c{i}' for i in range(len(parent))], 'made')

# ---- the split
@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(kinds=st.lists(st.integers(3, 12), min_size=1, max_size=4), seed=st.integers(0, 2**31-1),
       percent=st.sampled_from([1, 10, 20, 30, 33]))
def test_novel_split_of_any_data_set(kinds, seed, percent):
    data = made(kinds)
    parts = novel_split(data, seed, percent)
    base = find_split('3:1:6')(data, seed)
    classes = {part: set(data.subclass[i].tolist()) for part, i in parts.items()}
    unseen = classes['test']-classes['train']
    assert classes['train'] == classes['valid'] and not classes['thresholds'] & (classes['train'] | classes['test'])
    assert classes['train'] | unseen | classes['thresholds'] == set(range(sum(kinds)))
    for s, n in enumerate(kinds):
        wanted = max(1, int(n*percent/100+.5))
        assert [sum(data.parent[c] == s for c in held) for held in (unseen, classes['thresholds'])] == [wanted]*2
    for part in ('train', 'valid', 'test'): assert set(parts[part]) <= set(base[part])
    assert set(parts['thresholds']) == set(np.flatnonzero(np.isin(data.subclass, list(classes['thresholds']))))
    view = as_trained(data, parts)
    named = np.array(view.subclasses, object)[view.subclass[parts['train']]]
    assert (named == np.array(data.subclasses, object)[data.subclass[parts['train']]]).all()
    assert ((view.subclass[parts['test']] == NOVEL) == np.isin(data.subclass[parts['test']], list(unseen))).all()
    assert view.fingerprint == data.fingerprint and (view.superclass == data.superclass).all()

@pytest.mark.parametrize('kinds, percent, message', [
    ([5, 2], 20, "superclass 's1' has 2 subclasses: expected at least 3, to train on one and hold out 1 for the test "
                 "and 1 for thresholds"),
    ([4, 9], 40, "superclass 's0' has 4 subclasses: expected at least 5"),
    ([1], 10, 'has 1 subclasses: expected at least 3')])
def test_too_few_subclasses_to_hold_out(kinds, percent, message):
    with pytest.raises(InputError) as e: novel_split(made(kinds), 0, percent)
    assert message in str(e.value) and '\n' not in str(e.value)

def test_other_splits_leave_the_data_as_they_are():
    data = made([3, 4], 20)
    for name in ('3:1:6', 'swap', '8:1:1'): assert as_trained(data, find_split(name)(data, 1)) is data

def test_splits_by_name():
    assert {f'{start}novel:{k}' for start in ('', 'paper-sizes-unique-') for k in (10, 20, 30, 40)} <= set(SPLITS)
    with pytest.raises(InputError, match="split 'novel:50': expected one of 3:1:6, .*novel:10, "):
        RunConfig(split='novel:50')
    data = made([10, 10], 10)
    assert all((SPLITS['novel:20'](data, 4)[p] == novel_split(data, 4, 20)[p]).all()
               for p in ('train', 'valid', 'test', 'thresholds'))

def test_names_of_the_runs_stay():
    "A run is found by its name: the settings may not change in silence"
    names = {key: run_id(configs[0]) for key, configs in novel_configs('paper').items()}
    twin = run_id(novel_configs('paper', 'cifar100')['ViT', 'subclass'][2])
    assert (names, twin) == ({('ViT', 'superclass'): 'bird_dog_reptile-superclass-vit_tiny-9e02418cc4',
                              ('ViT', 'subclass'): 'bird_dog_reptile-subclass-vit_tiny-6b5179cf71',
                              ('ResNet-50', 'superclass'): 'bird_dog_reptile-superclass-resnet50-9dc4ae01dc',
                              ('ResNet-50', 'subclass'): 'bird_dog_reptile-subclass-resnet50-96745492cc'},
                             'cifar100-subclass-vit_tiny-95b6277bd6')

# ---- what is kept of an image whose class has no output
def test_nothing_is_right_about_a_class_without_an_output():
    rng = np.random.default_rng(3)
    logits, labels = torch.tensor(rng.normal(size=(400, 4)), dtype=torch.float32), torch.tensor(rng.integers(0, 4, 400))
    before = score_images(logits, labels)
    novel = torch.tensor(rng.random(400) < .3)
    after = score_images(logits, labels.masked_fill(novel, NOVEL))
    for name in before: assert np.array_equal(before[name][~novel.numpy()], after[name][~novel.numpy()])
    assert (after['rank'][novel] == NEVER).all() and np.isinf(after['loss'][novel]).all()
    assert (after['label'][novel] == NOVEL).all()
    share, known = novel.float().mean().item(), (before['prediction'] == before['label'])[~novel.numpy()].mean()
    summary = summarise(after)
    assert summary['accuracy'] == pytest.approx((1-share)*known) and summary['loss'] == float('inf')
    assert summary['top5_accuracy'] == pytest.approx(1-share)

# ---- scores
def outputs(n, width, classes, seed, head, spread=1.):
    rng = torch.Generator().manual_seed(seed)
    label = torch.randint(classes, (n,), generator=rng)
    label[:classes] = torch.arange(classes)
    centres = torch.randn(classes, width, generator=torch.Generator().manual_seed(99))*3
    features = centres[label]+spread*torch.randn(n, width, generator=rng)
    return Outputs(features, head(features).detach(), label)

@pytest.fixture(scope='module')
def network():
    torch.manual_seed(5)
    head = nn.Linear(6, 3)
    return head, outputs(300, 6, 3, 1, head), outputs(40, 6, 3, 2, head, 4.)

def test_scores_of_logits_against_scipy(network):
    _, _, o = network
    z = o.logits.double().numpy()
    p = softmax(z, axis=1)
    wanted = {'maximum softmax': -p.max(1), 'maximum logit': -z.max(1), 'energy': -logsumexp(z, axis=1),
              'entropy': entropy(p, axis=1)}
    assert set(wanted) == set(LOGIT_SCORES)
    for name, values in wanted.items():
        np.testing.assert_allclose(logit_score(name, o.logits).numpy(), values, atol=1e-5)

def test_nearest_neighbours_by_brute_force(network):
    head, train, o = network
    a, b = (x.features.double().numpy()/np.linalg.norm(x.features.double().numpy(), axis=1, keepdims=True)
            for x in (o, train))
    tenth = np.sort(np.linalg.norm(a[:, None]-b[None], axis=2), axis=1)[:, 9]
    np.testing.assert_allclose(fit_scores(train, head)['nearest neighbours'](o), tenth, atol=1e-4)

def test_mahalanobis_by_its_formula(network):
    head, train, o = network
    f, y, x = train.features.double().numpy(), train.label.numpy(), o.features.double().numpy()
    centres = np.stack([f[y == c].mean(0) for c in range(3)])
    within = sum(np.cov(f[y == c].T, bias=True)*(y == c).sum() for c in range(3))
    away = x[:, None]-centres[None]
    distance = np.einsum('ncd,de,nce->nc', away, np.linalg.inv(within), away).min(1)
    found = fit_scores(train, head)['Mahalanobis'](o)
    assert np.corrcoef(found, distance)[0, 1] > .9999 and (found.argsort() == distance.argsort()).mean() > .9

def test_vim_by_its_formula(network):
    head, train, o = network
    w, b = (p.detach().double().numpy() for p in (head.weight, head.bias))
    origin = -np.linalg.pinv(w) @ b
    def centred(o): return o.features.double().numpy()-origin
    _, directions = np.linalg.eigh(centred(train).T @ centred(train))
    rest = directions[:, :3]    # 6 features, 300 images: 6 dimensions, half of them principal
    def virtual(o): return np.linalg.norm(centred(o) @ rest, axis=1)
    alpha = train.logits.double().numpy().max(1).mean()/virtual(train).mean()
    wanted = alpha*virtual(o)-logsumexp(o.logits.double().numpy(), axis=1)
    np.testing.assert_allclose(fit_scores(train, head)['ViM'](o), wanted, rtol=1e-3, atol=1e-3)

def test_more_features_than_images():
    torch.manual_seed(0)
    head = nn.Linear(512, 4)
    train, near, far = (outputs(n, 512, 4, seed, head, spread) for n, seed, spread in ((60, 1, 1.), (50, 2, 1.),
        (50, 3, 6.)))
    scores = fit_scores(train, head)
    assert list(scores) == list(SCORES)
    for name in FEATURE_SCORES:    # ViM less, whose energy takes long features for sure ones
        assert np.isfinite(scores[name](far)).all() and separation(scores[name](near),
            scores[name](far))['auroc'] > .75, name

# ---- thresholds
@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=40))
def test_no_threshold_is_better(pairs):
    score, novel = np.array([s for s, _ in pairs], float), np.array([n for _, n in pairs])
    if novel.all() or not novel.any():
        with pytest.raises(InputError, match='images are novel: expected some novel and some known ones'):
            choose_threshold(score, novel)
        return
    threshold, mean = choose_threshold(score, novel)
    def worth(t): return ((score <= t)[~novel].mean()+(score > t)[novel].mean())/2
    assert worth(threshold) == pytest.approx(mean) and all(worth(t) <= mean+1e-12 for t in score)
    order = np.random.default_rng(0).permutation(len(score))
    assert choose_threshold(score[order], novel[order]) == (threshold, mean)

def test_decisions_and_their_accuracies():
    label, said, score = np.array([0, 1, 2, NOVEL, NOVEL]), np.array([0, 1, 1, 2, 0]), np.array([.1, .9, .2, .3, .8])
    decided = decide(said, score, .3)
    assert decided.tolist() == [0, NOVEL, 1, 2, NOVEL] and decided.dtype == np.int64
    assert seen_unseen(label, decided) == dict(seen=pytest.approx(1/3), unseen=.5)
    assert (decide(said, score, np.inf) == said).all() and (decide(said, score, -np.inf) == NOVEL).all()

def test_a_model_decides_as_its_entry_says():
    rng = torch.Generator().manual_seed(1)
    known, novel = 8*torch.eye(4)[torch.randint(4, (80,), generator=rng)]+torch.randn(80, 4,
        generator=rng), torch.randn(60, 4, generator=rng)
    entry = novelty_entry(torch.cat([known, novel]), np.r_[np.zeros(80, int), [NOVEL]*60], 'subclass')
    assert set(entry) == {'score', 'threshold', 'level'} and entry['score'] in LOGIT_SCORES
    assert json.loads(json.dumps(entry)) == entry
    assert novel_by_logits(novel, entry).mean() > .9 > .1 > novel_by_logits(known, entry).mean()
    with pytest.raises(InputError, match="score 'ViM': expected one of maximum softmax"):
        novel_by_logits(novel, entry | dict(score='ViM'))

@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=30), st.lists(st.floats(-5, 5), min_size=1, max_size=30),
       st.integers(-1, 9))
def test_a_lent_threshold_gives_up_the_same_share(ours, theirs, threshold):
    lent = same_share(threshold, np.array(ours), np.array(theirs))
    kept = np.mean(np.array(ours) <= threshold)
    assert np.mean(np.array(theirs) <= lent) >= kept-1e-9 and np.mean(np.array(theirs) < lent) <= kept+1e-9 or kept == 0

# ---- runs
@pytest.fixture(scope='module')
def store(tmp_path_factory):
    "The smallest runs, trained and scored once"
    home = tmp_path_factory.mktemp('novel')
    with pytest.MonkeyPatch.context() as m:
        m.setenv('RESVIT_CACHE', str(home/'cache'))
        configs = {k: c[0] for k, c in novel_configs('smoke').items() if k[0] == 'ResNet-50'}
        assert make_novel(list(configs.values()), home/'results', n_jobs=1) == 0
        yield home, configs

def test_a_record_like_any_other(store):
    home, configs = store
    for (_, target), config in configs.items():
        record, found = read_record(record_path(config, home/'results')), read_novel(scores_path(config,
            home/'results'))
        assert record.data['classes'] == (3 if target == 'superclass' else 51) == len(record.data['names'])
        assert ((record.images['label'] == NOVEL).any()) == (target == 'subclass')
        assert set(found.parts) == {'valid', 'test', 'thresholds', 'foreign', 'foreign thresholds'}
        assert (len(found.facts['trained']), len(found.facts['unseen']), len(found.facts['aside'])) == (51, 18, 18)
        assert found.facts['novelty']['level'] == target
        assert read_note(weights_file(record.run_id))['novelty'] == found.facts['novelty']
        assert check_model(keep_model(record, home/'results')).novelty == found.facts['novelty']
        for row in measures(found): assert row['overall_closed'] == pytest.approx((1-row['share'])*row['closed'])

def test_an_audit_knows_the_labels_of_a_record_with_novel_classes(store):
    home, configs = store
    for config in configs.values():
        record, data = read_record(record_path(config, home/'results')), images_of(config)
        assert against_data(record, data) is None
        record.images['label'][0] += 1
        assert against_data(record, data) == 'its labels are not those of its images'

def test_scored_again_it_is_the_same(store):
    home, configs = store
    config = configs['ResNet-50', 'subclass']
    again, first = score_run(read_record(record_path(config, home/'results'))), read_novel(scores_path(config,
        home/'results'))
    for part, arrays in first.parts.items():
        for name, a in arrays.items(): assert np.array_equal(a, again.parts[part][name])
    assert again.facts['novelty'] == first.facts['novelty']

def test_the_auroc_is_the_mean_over_classes(store):
    home, configs = store
    found = read_novel(scores_path(configs['ResNet-50', 'subclass'], home/'results'))
    whole = {r['score']: r['auroc'] for r in measures(found)}
    test = found.parts['test']
    for score in SCORES:
        apart = by_class(found, score)
        assert len(apart) == 18
        assert np.average(apart, weights=[(test['subclass'] == c).sum()
                                          for c in apart.index]) == pytest.approx(whole[score])

def test_nothing_is_trained_twice(store, capsys):
    home, configs = store
    before = {p: p.stat().st_mtime_ns for p in (home/'results').rglob('*')}
    assert make_novel(list(configs.values()), home/'results') == 0 and capsys.readouterr().out == ''
    assert before == {p: p.stat().st_mtime_ns for p in (home/'results').rglob('*')}

def test_other_weights_are_refused(store, tmp_path, monkeypatch):
    home, configs = store
    config = configs['ResNet-50', 'superclass']
    record = read_record(record_path(config, home/'results'))
    shutil.copytree(home/'cache', tmp_path/'cache')
    monkeypatch.setenv('RESVIT_CACHE', str(tmp_path/'cache'))
    from safetensors.torch import load_file, save_file
    file = weights_file(record.run_id)
    tensors = load_file(file)
    tensors['fc.bias'] = tensors['fc.bias']+torch.tensor([0., 9., 0.])
    save_file(tensors, file)
    with pytest.raises(InputError, match='not the weights that the record .* left'): score_run(record)

DAMAGE = {
    'seed': (lambda p: p.write_text(p.read_text('utf-8').replace('"seed": 0', '"seed": 5'), 'utf-8'),
             'edited since it was written'),
    'no JSON': (lambda p: p.write_text('{', 'utf-8'), 'JSONDecodeError'),
    'arrays': (lambda p: p.with_suffix('.npz').write_bytes(b'PK'), 'is not the file that was written'),
    'no arrays': (lambda p: p.with_suffix('.npz').unlink(), 'FileNotFoundError'),
    'another name': (lambda p: None, 'its configuration belongs to'),
    'empty': (lambda p: p.write_bytes(b''), 'JSONDecodeError')}

@pytest.mark.parametrize('harm, message', DAMAGE.values(), ids=DAMAGE)
def test_damaged_scores_are_named(store, tmp_path, harm, message):
    home, configs = store
    path = scores_path(configs['ResNet-50', 'subclass'], home/'results')
    name = f'{path.stem[:-1]}0' if message.startswith('its') else path.stem
    for suffix in ('.json', '.npz'): shutil.copy(path.with_suffix(suffix), tmp_path/f'{name}{suffix}')
    harm(tmp_path/f'{name}.json')
    with pytest.raises(InputError) as e: read_novel(tmp_path/f'{name}.json')
    assert message in str(e.value) and f'scores {tmp_path}' in str(e.value) and '\n' not in str(e.value)

def test_a_network_of_all_classes_borrows_the_threshold(store):
    home, configs = store
    own = read_novel(scores_path(configs['ResNet-50', 'subclass'], home/'results')).facts['novelty']
    ours, theirs = (torch.randn(n, c, generator=torch.Generator().manual_seed(n)) for n, c in ((300, 51), (200, 87)))
    own['threshold'] = float(logit_score(own['score'], ours).quantile(.8))
    lent = lend_novelty(own, ours, theirs)
    assert (lent['score'], lent['level']) == (own['score'], own['level'])
    assert abs((~novel_by_logits(theirs, lent)).mean()-.8) < .01

# ---- foreign images, the command and the page
def test_foreign_images():
    chance = chance_fractals(16, 8, 5)
    parts = foreign_parts(chance, 3)
    classes = [set(chance.subclass[i]) for i in parts.values()]
    assert len(classes[0]) == len(classes[1]) == 4 and not classes[0] & classes[1]
    config = novel_configs('paper')['ViT', 'superclass'][0]
    assert foreign_images(config, None) is None and foreign_images(config, {'bird_dog_reptile': 'x'}) is None
    assert chance.fingerprint == chance_fractals(16, 8, 5).fingerprint

@pytest.mark.parametrize('argv, message', [
    (['--profile', 'huge'], "profile 'huge': expected one of smoke, quick, paper"),
    (['--seeds', '0'], 'seeds 0: expected at least 1'),
    (['--n_jobs', '0'], 'n_jobs 0: expected at least 1'),
    (['--profile', 'paper', '--data_dir', 'nowhere'], 'data_dir nowhere: folder or archive missing'),
    (['--data_dir', '.'], 'data_dir .: profile quick draws its images: expected no data_dir'),
    (['--profile', 'paper', '--dataset', 'cifar100', '--pretrain_dir', '.'],
     'pretrain_dir .: the networks are pre-trained on fractals: expected it left out'),
    (['--dataset', 'cifar100'], 'expected profile paper')])
def test_the_command_refuses_in_one_line(argv, message, tmp_path, monkeypatch):
    with pytest.raises(SystemExit) as e: resvit_novel.command([*argv, '--results', str(tmp_path/'results')])
    assert message in str(e.value.code) and '\n' not in str(e.value.code) and not (tmp_path/'results').exists()

def test_what_was_not_run_is_said(tmp_path, capsys):
    bodies = gather_novel(results=tmp_path)
    assert [b.made for b in bodies] == [0, 0, 0] and novel_words(bodies).text.count('not run yet** (0 of 12 runs)') == 3
    resvit_novel.command(['--profile', 'paper', '--results', str(tmp_path)])
    assert '12 of 12 runs have no scores' in capsys.readouterr().out and not list(tmp_path.iterdir())

def test_the_answer_names_the_data_sets_of_which_it_holds():
    def found(name, title, *better):
        return NovelBody(name, title, {}, {}, []), dict(zip(('subclass', 'superclass'), ((b, '') for b in better)))
    bodies = [found('a', 'paper', 'x', 'y'), found('b', 'paper', 'y', 'y'), found('a', 'quick', 'x', 'y'),
              found('b', 'paper')]
    assert answer_words(bodies) == '**New kinds: x on a; y on b. Something else: y on a and b.**\n'
    assert answer_words([found('c', 'paper', '', '')]) == answer_words([]) == ''

def test_published_scores():
    "Every file that the page reads is whole, and stands beside the record of its run with the same predictions"
    results = Path(__file__).parent.parent/'results'
    for path in sorted((results/'novelty').glob('*.json')):
        found, record = read_novel(path), read_record(results/path.name)
        assert found.config == record.config
        assert np.array_equal(found.parts['test']['prediction'], record.images['prediction'])

def test_fractals_are_those_of_the_published_scores(tmp_path, monkeypatch):
    monkeypatch.setenv('RESVIT_CACHE', str(tmp_path))    # so that they are drawn, not read
    found = read_novel(min((ROOT/'results/novelty').glob('fractals-*.json')))
    drawn = dict(data=load_data('fractals', found.config.resolution), foreign=foreign_images(found.config, None))
    assert {k: d.fingerprint for k, d in drawn.items()} == {k: found.facts[k]['fingerprint'] for k in drawn}

@needs_data
def test_the_course_and_cifar100(decoded):
    course, twin = load_data('bird_dog_reptile', 32, f'{DATA}/bird_dog_reptile'), load_data('cifar100', 32,
        f'{DATA}/cifar100_train.tar')
    assert [np.bincount(course.parent[h]).tolist() for h in held_out(course, 0, 20)] == [[6]*3]*2
    shown = [twin.subclasses[c] for c in foreign_classes(twin)]
    assert len(shown) == 93 and not {'crocodile', 'dinosaur', 'lizard', 'snake', 'turtle', 'fox', 'wolf'} & set(shown)
    parts = find_split('paper-sizes-unique-novel:20')(twin, 0)
    base = find_split('paper-sizes-unique')(twin, 0)
    assert len(np.unique(twin.subclass[parts['train']])) == 60 and set(parts['test']) < set(base['test'])

def test_what_is_published_is_on_the_page():
    "Records that no configuration of ours names would be published and never shown"
    *bodies, first = gather_novel(results=ROOT/'results')
    assert first.made == first.planned
    assert sum(b.made for b in [*bodies, first]) == len(list((ROOT/'results/novelty').glob('*.json')))

def test_images_of_ones_own_are_not_asked_for_novel_classes():
    from resvit_nb.novel_report import ceiling_table, classes_table, novel_table, plot_novel, scores_table, setup_words
    assert gather_novel('smoke', 'image_tree', data_dir='anywhere') == []
    assert 'Not tried' in novel_words([]).text and not (ceiling_table([]) or scores_table([]) or classes_table([]))
    for shown in (novel_table([]), plot_novel([]), setup_words([])): assert shown._repr_markdown_() is not None
    with pytest.raises(InputError, match="dataset 'image_tree': expected one of cifar100"):
        novel_configs('quick', 'image_tree')
