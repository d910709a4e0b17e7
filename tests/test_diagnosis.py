"Attacks on the ten checks: planted mistakes that nobody gave them, honest inputs, bad input"
import numpy as np, pytest
from resvit_nb.core import InputError
from resvit_nb import diagnosis as dx

def honest(n=1500, classes=30, right=.6, seed=5):
    "Predictions that are right at that rate and otherwise any class"
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    return np.where(rng.random(n)<right, y, rng.integers(0, classes, n)), y

@pytest.mark.parametrize('classes, right, n', [(2, .9, 200), (3, .7, 600), (11, .3, 900), (87, .25, 3765), (100, .05, 5000), (500, .5, 9000)])
def test_silent_on_honest_predictions(classes, right, n):
    p, y = honest(n, classes, right, seed=classes)
    assert dx.diagnose(p, y, [f'c{i}' for i in range(classes)]).found == []

@pytest.mark.parametrize('seed', range(6))
def test_false_alarms_are_rare(seed):
    assert sum(map(bool, dx.false_alarms(15, seed=100+seed)[1])) <= 2

def test_finds_names_in_alphabetical_order():
    p, y = honest()
    names = [f'{(7*i)%30:02} animal' for i in range(30)]
    order = np.array(sorted(range(30), key=lambda i: names[i]))
    report = dx.diagnose(np.argsort(order)[p], y, names)
    assert 'order of the labels' in report.found and 'names in alphabetical order' in report[1].words

def test_finds_two_classes_exchanged():
    p, y = honest(6000, 10, .8)
    assert dx.diagnose(np.array([0, 2, 1, *range(3, 10)])[p], y).found == ['best relabelling']

def test_finds_images_inserted_and_batches_reversed():
    p, y = honest()
    assert 'out of step' in dx.diagnose(np.roll(p, 3), y).found
    assert 'out of step' in dx.diagnose(p[:1488].reshape(-1, 16)[:, ::-1].ravel(), y[:1488], batch=16).found

def test_finds_a_last_tenth_that_fails():
    p, y = honest(3000)
    p = p.copy(); p[-300:] = np.random.default_rng(0).integers(0, 30, 300)
    assert dx.diagnose(p, y).found == ['along the file']

def test_a_test_set_in_order_of_its_classes_is_no_fault():
    p, y = honest(3000)
    order = np.argsort(y, kind='stable')
    assert dx.diagnose(p[order], y[order]).found == []

def test_finds_one_class_novel_classes_and_empty_outputs():
    p, y = honest()
    rng = np.random.default_rng(2)
    assert 'share of one class' in dx.diagnose(np.where(rng.random(1500)<.6, 4, p), y).found
    assert 'classes on one side only' in dx.diagnose(p, np.where(rng.random(1500)<.4, 30, y)).found
    assert 'classes on one side only' in dx.diagnose(np.where(rng.random(1500)<.05, 31, p), y).found

def test_loss_worse_than_guessing_and_losses_of_other_images():
    p, y = honest()
    fair = np.where(p==y, .3, 2.)
    assert dx.diagnose(p, y, losses=fair).found == []
    assert dx.diagnose(p, y, losses=np.where(p==y, .3, 12.)).found == ['loss']
    assert dx.diagnose(p, y, losses=np.roll(fair, 1)).found == ['loss']

def test_shuffled_images_leave_no_link():
    p, y = honest()
    assert 'any link' in dx.diagnose(np.random.default_rng(3).permutation(p), y).found

def test_a_report_reads_well():
    p, y = honest()
    report = dx.diagnose(p, y)
    assert len(report) == 10 and len(repr(report).splitlines()) == 11 and repr(report).endswith('0 of 10 checks speak up.')
    assert report._repr_markdown_().count('\n| ') == 11

N = np.arange(60)%3
@pytest.mark.parametrize('args, words', [
    (([], []), 'predictions: empty'), ((N, N[1:]), '60 predictions and 59 labels'), ((N[:20], N[:20]), '20 images: expected at least 50'),
    ((N+.25, N), 'predictions[0] is 0.25: expected a class number'), ((N, np.where(N==2, np.nan, N)), 'labels[2] is nan'),
    ((N, np.where(N==1, np.inf, N)), 'labels[1] is inf'), ((N-1, N), 'predictions[0] is -1: expected 0 or more'),
    ((N, N, list('ab')), 'predictions[2] is 2: expected 0 to 1'), ((N.reshape(2, 30), N), 'predictions (2, 30)'),
    ((N.astype(object), N), 'expected class numbers'), ((['bird']*60, N), 'expected class numbers'), ((N>0, N), 'expected class numbers'),
    ((N, N, None, N[1:]), 'losses (59,)'), ((N, N, None, np.full(60, np.nan)), 'losses[0] is nan'), ((N, N, None, -1.-N), 'losses[0] is -1.0'),
    ((N, N, None, None, 1), 'batch 1: expected 2 to'), ((N, N, None, None, 61), 'batch 61: expected 2 to'), ((N*0, N*0), '1 class: expected at least 2'),
    ((N, N, []), '0 names: expected 2'), ((N*0, N*0, ['a']), '1 names: expected 2'), ((N, N, None, ['a']*60), 'losses: expected numbers'), ((N, N*10**9), 'labels[1] is 1000000000: expected')])
def test_bad_input_is_one_line(args, words):
    with pytest.raises(InputError) as e: dx.diagnose(*args)
    assert words in str(e.value) and '\n' not in str(e.value)

def test_strings_keep_what_they_should():
    for classes in (1, 9, 10, 11, 87, 99, 100, 101, 1000):
        order = dx.string_order(classes)
        assert sorted(order) == list(range(classes)) and [str(i) for i in order] == sorted(map(str, range(classes)))

@pytest.mark.parametrize('classes', [2, 3, 10])
def test_an_order_of_strings_that_changes_nothing_is_not_seen(classes):
    p, y = honest(2000, classes, .6)
    for how in ('labels sorted as strings', 'predictions sorted as strings'):
        planted = dx.PLANTED[how][0](p, y, np.random.default_rng(0))
        assert np.array_equal(planted[0], p) and np.array_equal(planted[1], y)
    assert dx.diagnose(p, y).found == []
