"Attacks on the forensics: the suspects, the short runs, and the numbers that they stand on"
from pathlib import Path
import numpy as np, pandas as pd, pytest, torch
from resvit_nb.core import InputError
from resvit_nb import diagnosis, forensics as fx, mistakes

ROOT = Path(__file__).parent.parent

def test_reading_labels_as_strings_is_what_a_generator_does():
    "A network trained on string-sorted indices, read as numbers: built here from probabilities, not from `read`"
    rng = np.random.default_rng(1)
    probability = rng.dirichlet(np.full(20, .3), 400)
    label, prediction = rng.integers(0, 20, 400), probability.argmax(1)
    images = dict(label=label, prediction=prediction, confidence=probability.max(1),
                  loss=-np.log(probability[np.arange(400), label]))
    outputs = probability[:, mistakes.string_order(20)]    # what stands at output k: the class that is k-th as a string
    got = mistakes.read(images, 20, 'labels sorted as strings')
    assert got['accuracy'] == (outputs.argmax(1)==label).mean()
    assert got['loss'] <= -np.log(np.maximum(outputs[np.arange(400), label], 1e-7)).mean()+1e-9    # a bound

def test_stored_subclass_networks_read_as_strings():
    records = [r for r in diagnosis.closed_records(ROOT/'results') if (r.config.data,
        r.config.target) == ('bird_dog_reptile', 'subclass')][::10]
    assert len(records) > 5
    for r in records:
        accuracy = mistakes.read(r.images, 87, 'labels sorted as strings')['accuracy']
        assert accuracy < .04 < r.test['accuracy']
        assert mistakes.read(r.images, 87, 'as they are')['accuracy'] == r.test['accuracy']

def test_short_runs_are_whole_and_sensible():
    short = mistakes.read_short_runs(ROOT/'results')
    for name, runs in short['runs'].items():
        for run in runs:
            for t in mistakes.TARGETS:
                assert set(run['scores'][t]) == set(mistakes.FAULTS)
                clean = run['scores'][t]['as trained']['accuracy']
                assert clean > 3/run['classes'][t] or t == 'superclass'
                assert all(0 <= s['accuracy'] <= 1 and 0 <= s['loss'] <= 16.2 for s in run['scores'][t].values())
            assert run['novel']['subclass']['unseen']['accuracy'] < .05
    assert len(short['twin_parents']) == 100 and len(set(short['twin_parents'].values())) == 20

def test_weights_made_for_larger_images_learned_something_first():
    large = mistakes.read_short_runs(ROOT/'results')['large']
    own = {name: scores['accuracy'] for name, scores in large['fractals'].items()}
    assert own['as trained'] > .3 and own['reduced'] < own['as trained'] and own['enlarged again'] < own['as trained']
    assert set(large['tuned']) == {'bird_dog_reptile', 'cifar100'}
    assert set(large['tuned']['bird_dog_reptile']) == set(mistakes.TUNED)
    for ways in large['tuned'].values():
        for scores in ways.values():
            assert all(0 < scores[t]['accuracy'] < 1 and 0 < scores[t]['loss'] < 16.2 for t in mistakes.TARGETS)

def test_going_on_from_weights_leaves_them_alone(tmp_path, monkeypatch):
    from resvit_nb.sources import fractals
    monkeypatch.setenv('RESVIT_CACHE', str(tmp_path))
    model, own = mistakes.made_for_large(size=48, width=4, epochs=1, each=10)
    assert set(own) == {'as trained', 'reduced', 'enlarged again'} and len({s['loss'] for s in own.values()}) == 3
    before = {k: v.clone() for k, v in model.state_dict().items()}
    data = fractals(10, 16)
    frozen, on, large = (mistakes.tuned_scores(model, data, way, dict(superclass=1, subclass=1), size=48, most=100)
                         for way in mistakes.TUNED)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert len({s['subclass']['loss'] for s in (frozen, on, large)}) == 3
    assert all(set(s) == {'superclass', 'subclass'} for s in (frozen, on, large))
    with pytest.raises(InputError, match="way 'thawed': expected one of frozen weights made for 112 px"):
        mistakes.tuned_scores(model, data, 'thawed')

def test_missing_or_damaged_short_runs_are_one_line(tmp_path):
    with pytest.raises(InputError, match='not there'): mistakes.read_short_runs(tmp_path)
    (tmp_path/mistakes.FORENSICS).write_text('{', 'utf-8')
    with pytest.raises(InputError, match='damaged'): mistakes.read_short_runs(tmp_path)

def test_the_distance_knows_near_from_far():
    pairs = fx.paper_pairs()
    assert fx.distance(fx.Suspect('itself', 'none', pairs)) == 0
    near, far = pairs.copy(), pairs.copy()
    near[('superclass','accuracy')] += .02; far[('superclass','accuracy')] += .2
    assert 0 < fx.distance(fx.Suspect('near', 'none', near)) < .05 < fx.distance(fx.Suspect('far', 'none', far))
    assert fx.reached(fx.Suspect('near', 'none', near)) == 10 and fx.reached(fx.Suspect('far', 'none', far)) < 5

def test_a_bound_on_a_loss_excludes_only_from_above():
    points = pd.DataFrame([(.5, 9., .04, 20.)], columns=fx.ROWS)
    bound, exact = (fx.Suspect('x', 'none', points, least=least).judged for least in (True, False))
    assert not bound['superclass loss'].dropna().any() and not exact['superclass loss'].dropna().any()
    low = fx.Suspect('x', 'none', points/100, least=True).judged
    assert low['superclass loss'].dropna().all() and low['subclass loss'].dropna().all()

@pytest.mark.parametrize('fault', mistakes.FAULTS)
def test_a_fault_leaves_the_network_alone_and_keeps_the_order(fault):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.BatchNorm2d(4), torch.nn.ReLU(),
                                torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, 5)).eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    pixels, labels = torch.rand(40, 3, 32, 32), torch.arange(40)%5
    said = mistakes.logits_with(fault, model, pixels, labels, torch.rand(50, 3, 32, 32), batch=40)
    assert said.shape == (40, 5) and torch.isfinite(said).all()
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items()) and not model.training
    if fault == 'as trained': assert torch.allclose(said, model(mistakes.normalise(pixels)))
    # one batch: order does not matter
    if fault == 'batch norm in training mode, batches sorted by class':
        assert torch.allclose(said, mistakes.logits_with('batch norm in training mode, mixed batches', model, pixels,
                                                         labels, pixels, batch=40), atol=1e-5)

def test_held_out_kinds_are_in_no_training_part():
    from resvit_nb.sources import fractals
    data = fractals(10, 16)
    held = mistakes.classes_left_out(data)
    parts = mistakes.known_parts(data, held, most=50)
    assert len(held) == 29 and (np.bincount(data.parent[held], minlength=3) >= 9).all()
    for p in ('train', 'valid', 'test'): assert not np.isin(data.subclass[parts[p]], held).any()
    assert np.isin(data.subclass[parts['unseen']], held).all() and len(parts['test']) == len(parts['unseen']) == 50
    foreign = np.zeros((300, 3, 16, 16), np.uint8)
    both, swap = mistakes.mostly_novel(data, foreign, dict(superclass=.2, subclass=.6))
    assert abs((both.superclass[swap['train']]==3).mean()-.2) < .01
    assert abs((both.subclass[swap['train']]==87).mean()-.6) < .02
    assert (both.subclass[swap['test']] < 87).all() and len(both.images) == len(both.subclass)

def test_mixed_batches_are_mixed_although_the_images_come_in_order():
    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.BatchNorm2d(3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
                                torch.nn.Linear(3, 2)).eval()
    labels = torch.arange(64)//32
    pixels = torch.rand(64, 3, 8, 8)*.1+labels.view(-1, 1, 1, 1)*.5    # one class dark, the other bright
    mixed, in_order = (mistakes.logits_with(f'batch norm in training mode, {how}', model, pixels, labels, pixels)
                       for how in ('mixed batches', 'batches sorted by class'))
    def gap(said): return (said[labels==1].mean(0)-said[labels==0].mean(0)).abs().max()
    assert gap(mixed) > 100*gap(in_order)    # sorted, each class is normalised by itself and the classes look alike

@pytest.fixture(scope='module')
def everything():
    records, short = diagnosis.closed_records(ROOT/'results'), mistakes.read_short_runs(ROOT/'results')
    return records, short, fx.suspects_of(records, short, 'bird_dog_reptile'), fx.suspects_in_twos(records, short,
        'bird_dog_reptile')

def test_suspects_are_all_there_once_and_documented(everything):
    records, short, alone, twos = everything
    names = [s.name for s in [*alone, *twos]]
    assert len(names) == len(set(names)) and {s for s, _, _ in fx.SOURCES_OF} <= {s.name for s in alone}
    assert all(url.startswith('https://') for _, _, url in fx.SOURCES_OF)
    for s in [*alone, *twos]:
        accuracies = s.points[[(t, 'accuracy') for t in mistakes.TARGETS]].values
        assert len(accuracies) and ((0 <= accuracies) & (accuracies <= 1)).all() and fx.reached_whole(s) <= 6
        assert fx.reached(s) <= 10

def test_novel_images_never_raise_an_accuracy(everything):
    records, short, alone, _ = everything
    clean, novel = fx.named(alone, 'nothing wrong').points, fx.named(alone, fx.NOVEL_IN_TEST).points
    for t in mistakes.TARGETS: assert (novel[(t, 'accuracy')] < clean[(t, 'accuracy')]).all()
    q = mistakes.reported_shares()
    assert np.allclose(novel[('subclass', 'accuracy')], (1-q['subclass'])*clean[('subclass', 'accuracy')])

def test_strings_leave_three_superclasses_and_break_twenty(everything):
    records, short, alone, _ = everything
    clean, strings = (fx.named(alone, n).points for n in ('nothing wrong', 'labels sorted as strings'))
    assert (strings[('superclass', 'accuracy')] == clean[('superclass', 'accuracy')]).all()
    twin = fx.suspects_of(records, short, 'cifar100')
    a, b = (fx.named(twin, n).points[('superclass', 'accuracy')] for n in ('nothing wrong', 'labels sorted as strings'))
    assert (b < a/2).all()

def test_the_sentence_says_what_the_table_says(everything):
    records, short, alone, twos = everything
    said = fx.forensic_sentence(records, short)
    first = fx.most_first([s for s in alone if s.kind != 'none'])[0]
    reached = f'{fx.reached(first)} of them ({fx.reached_whole(first)} with their losses)'
    assert f'The closest, {first.name}, prints {reached}' in said
    table = fx.suspects_table(fx.most_first(alone), '').frame
    assert table.suspect[0] == first.name and len(table) == len(alone) and f'{len(alone)-1} ordinary mistakes' in said
    assert 'none prints all' in said or any(fx.reached(s) == 10 for s in alone)

def test_what_remains_accuses_nobody_and_names_the_observation(everything):
    said = repr(fx.what_remains(*everything[:2]))
    assert 'confusion matrix' in said and 'None of this says that a mistake was made' in said and 'nan' not in said
