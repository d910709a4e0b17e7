"A Learner under attack: it repeats itself, goes on after a stop, leaves nothing switched on."
import io, os, random, re, sys, termios, time
from copy import deepcopy
from types import SimpleNamespace
import numpy as np, pandas as pd, pytest, torch
from matplotlib import pyplot as plt
from PIL import Image
from resvit_nb import learner
from resvit_nb.core import InputError
from resvit_nb.images import stratified_split
from resvit_nb.sources import fractals
from resvit_nb.batches import image_loaders
from resvit_nb.resnet import ResNet, resnet50
from resvit_nb.vit import vit_tiny
from resvit_nb.models import new_model
from resvit_nb.learner import RECIPES, FrozenBackbone, Groups, Progress, choose_precision, classifier, image_learner
from resvit_nb.checkpoints import Checkpoints, load_training, read_training
from fastai.callback.core import Callback
from fastai.callback.progress import CSVLogger, ShowGraphCallback
import fastai.callback.schedule    # which gives every Learner fine_tune and lr_find
from fastai.callback.tracker import EarlyStoppingCallback, ReduceLROnPlateau
from fastai.interpret import ClassificationInterpretation
from fastai.learner import CancelFitException, load_learner
from fastai.torch_core import set_seed
from fastprogress.fastprogress import ConsoleMasterBar, NBMasterBar
from torch import nn

@pytest.fixture(scope='module')
def data(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('RESVIT_CACHE', str(tmp_path_factory.mktemp('cache')))
        yield fractals(10, 16)

def loaders(data, augment=False):
    return image_loaders(data, 'superclass', stratified_split(data), bs=64, device='cpu', augment=augment)

class Stop(Callback):
    "Fail in the middle of the third epoch"
    def before_batch(self):
        if self.training and self.epoch == 2 and self.iter == 2: raise KeyboardInterrupt

class StopAfter(Callback):
    "End the training after some steps"
    def __init__(self, steps): self.steps = steps
    def after_batch(self):
        if self.training and self.iter+1 >= self.steps: raise CancelFitException

class Broken(nn.Linear):
    def forward(self, x): raise RuntimeError('broken on purpose')

def trained(data, *cbs, freeze=False):
    "A small network after four epochs: weights, losses, the next random numbers"
    set_seed(0)
    dls = loaders(data, augment=True)
    learn = image_learner(dls, resnet50(dls.c, width=8, drop=.5), 'one-cycle', freeze=freeze)
    learn.add_cbs(cbs)
    learn.fit(4)
    losses = [(r['train_loss'], r['valid_loss']) for r in learn.epoch_log.rows]
    return learn.model.state_dict(), losses, torch.rand(1).item(), random.random(), np.random.rand()

def test_a_frozen_network_goes_on_as_if_nothing_had_happened(data, tmp_path):
    "A case of its own: its optimizer has moments for two parameters of many"
    whole = trained(data, freeze=True)
    with pytest.raises(KeyboardInterrupt): trained(data, Checkpoints(tmp_path), Stop(), freeze=True)
    resumed = trained(data, Checkpoints(tmp_path), freeze=True)
    assert resumed[1:] == whole[1:] and all(torch.equal(resumed[0][k], v) for k, v in whole[0].items())

@pytest.mark.parametrize('place', [0, 7, 100, -1])
def test_a_checkpoint_with_a_flipped_bit_is_not_read(data, tmp_path, place, capsys):
    with pytest.raises(KeyboardInterrupt): trained(data, Checkpoints(tmp_path), Stop())
    path, = Checkpoints(tmp_path).find()
    content = bytearray(path.read_bytes()); content[place] ^= 1; path.write_bytes(content)
    with pytest.raises(ValueError, match='not the file that was written'): read_training(path)
    learn = image_learner(dls := loaders(data), resnet50(dls.c, width=8))
    learn.fit(1, cbs=Checkpoints(tmp_path))
    assert f'checkpoint {path}: damaged' in capsys.readouterr().out and len(learn.epoch_log.rows) == 1

def test_a_checkpoint_of_another_network_is_passed_over(data, tmp_path, capsys):
    with pytest.raises(KeyboardInterrupt): trained(data, Checkpoints(tmp_path), Stop())
    learn = image_learner(dls := loaders(data), resnet50(dls.c, width=16))
    learn.fit(1, cbs=Checkpoints(tmp_path))
    assert 'of another network; passed over' in capsys.readouterr().out

@pytest.mark.parametrize('gpus', [2, 12])
def test_a_training_goes_on_with_another_number_of_gpus(data, tmp_path, monkeypatch, gpus):
    with pytest.raises(KeyboardInterrupt): trained(data, Checkpoints(tmp_path), Stop())
    facts, tensors = read_training(Checkpoints(tmp_path).find()[0])
    tensors |= {f'generator.cuda{i}': i for i in range(11)}    # sorted, the names put 10 before 2
    learn = image_learner(dls := loaders(data), resnet50(dls.c, width=8, drop=.5), 'one-cycle')
    learn.create_opt()
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: gpus)
    states = {}
    monkeypatch.setattr(torch.cuda, 'set_rng_state', lambda state, i: states.update({i: state}))
    load_training(learn, facts, tensors)
    assert states == {i: i for i in range(min(gpus, 11))}

def test_autocast_ends_where_the_model_fails(data):
    with pytest.raises(Exception, match='broken on purpose'):
        image_learner(loaders(data), Broken(1, 1), precision='bf16').fit(1)
    assert not torch.is_autocast_enabled('cpu')

@pytest.mark.parametrize('value', ['int8', 'BF16', '', None, 16])
def test_precisions_that_are_none(value):
    with pytest.raises(ValueError, match='expected one of auto, bf16, float32'): choose_precision(value)

@pytest.mark.parametrize('value', ['sgd', 'one_cycle', '', None, 1])
def test_recipes_that_are_none(data, value):
    with pytest.raises(ValueError, match='expected one of keras-default, one-cycle'):
        image_learner(loaders(data), nn.Identity(), recipe=value)

@pytest.mark.parametrize('size, expected', [(31, 'float32'), (16, 'float32')])
def test_small_images_are_computed_in_float32(size, expected):
    assert choose_precision('auto', image_size=size) == expected

# A Learner like any other of fastai's
def small(data, recipe='keras-default', precision='float32', epochs=0):
    set_seed(0)
    dls = loaders(data)
    learn = image_learner(dls, resnet50(dls.c, width=8), recipe, precision)
    if epochs: learn.fit(epochs)
    return learn

def epochs(learn): return [r['epoch'] for r in learn.epoch_log.rows or []]

@pytest.mark.parametrize('recipe', RECIPES)
@pytest.mark.parametrize('look', [
    lambda learn: learn.validate(), lambda learn: learn.validate(0), lambda learn: learn.get_preds(ds_idx=1),
    lambda learn: learn.summary(), lambda learn: learn.lr_find(num_it=6, show_plot=False),
    lambda learn: learn.show_results()],
    ids=['validate', 'validate train', 'get_preds', 'summary', 'lr_find', 'show_results'])
def test_what_is_no_epoch_adds_no_row_and_changes_none(data, tmp_path, recipe, look):
    learn = small(data, recipe)
    learn.path = tmp_path
    look(learn)
    assert epochs(learn) == []
    learn.fit(1)
    rows = deepcopy(learn.epoch_log.rows)
    look(learn)
    assert learn.epoch_log.rows == rows and epochs(learn) == [1]
    learn.fit(1)
    assert epochs(learn) == [1, 2] and learn.epoch_log.rows[:1] == rows

def test_validate_says_what_the_log_says(data):
    learn = small(data, epochs=1)
    assert np.isclose(learn.validate()[0], learn.epoch_log.rows[-1]['valid_loss'], rtol=1e-4)

def test_the_learning_rate_finder_has_its_own_rates_and_the_schedule_comes_back(data, tmp_path):
    learn = small(data, 'one-cycle')
    learn.path = tmp_path
    learn.lr_find(num_it=6, show_plot=False)
    assert np.isclose(learn.recorder.lrs[0], 1e-7) and learn.recorder.lrs[-1] > .01
    learn.fit(4)
    assert max(learn.recorder.lrs) <= 1e-3 and learn.recorder.lrs[-1] < 1e-4

@pytest.mark.parametrize('precision', ['float32', 'bf16'])
def test_a_copy_of_the_model_computes_with_its_own_weights(data, tmp_path, precision):
    model = small(data, precision=precision).model.eval()
    x = torch.randn(2, 3, 32, 32)
    torch.save(model, tmp_path/'model.pt')
    for twin in (deepcopy(model), torch.load(tmp_path/'model.pt', weights_only=False)):
        with torch.no_grad():
            assert torch.equal(twin(x), model(x)) and twin(x).dtype == torch.float32
            for p in twin.parameters(): p.zero_()
            assert twin(x).abs().max() == 0 and model(x).abs().max() > 0

def test_a_model_can_change_its_precision(data):
    dls = loaders(data)
    net = resnet50(dls.c, width=8).eval()
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        exact = net(x)
        coarse = image_learner(dls, net, precision='bf16').model(x)
        assert torch.equal(image_learner(dls, net, precision='bf16').model(x), coarse)
        assert not torch.equal(coarse, exact)
        assert torch.equal(image_learner(dls, net, precision='float32').model(x), exact)

@pytest.mark.parametrize('precision', ['float32', 'bf16'])
def test_a_forward_that_was_replaced_is_called(data, precision):
    dls, called = loaders(data), []
    net = resnet50(dls.c, width=8)
    plain = net.forward
    def counted(x): called.append(len(x)); return plain(x)
    net.forward = counted
    image_learner(dls, net, precision=precision).fit(1)
    assert sum(called) == sum(len(y) for part in (0, 1) for _, y in dls[part])

@pytest.mark.parametrize('precision', ['float32', 'bf16'])
def test_a_compiled_model_trains(data, precision):
    dls = loaders(data)
    class Linear(nn.Linear):
        def forward(self, x): return super().forward(x.flatten(1))
    net = torch.compile(Linear(3*16*16, dls.c), backend='eager')
    learn = image_learner(dls, net, precision=precision)
    learn.fit(3)
    losses = [r['train_loss'] for r in learn.epoch_log.rows]
    assert losses[-1] < losses[0]

def test_early_stopping_ends_a_training_and_its_last_epoch_is_told(data, capsys):
    learn = small(data)
    learn.fit(4, cbs=EarlyStoppingCallback(patience=1, min_delta=9))
    assert epochs(learn) == [1, 2] and 'epoch 2/4' in capsys.readouterr().out

def test_fastai_writes_its_own_table(data, tmp_path):
    learn = small(data)
    learn.path = tmp_path
    learn.fit(2, cbs=CSVLogger(fname='history.csv'))
    assert len((tmp_path/'history.csv').read_text('utf-8').splitlines()) == 3

def test_one_class_is_nothing_to_learn(data):
    dls = loaders(data)
    dls.c, dls.vocab = 1, ['animals']
    with pytest.raises(InputError, match='1 class, animals: expected at least 2'): image_learner(dls, nn.Identity())

class Terminal(io.StringIO):
    def isatty(self): return True

@pytest.mark.parametrize('label', ['training', 'paper-subclass-resnet50-from-scratch-with-augmentation-seed-3'])
def test_the_bar_has_room_at_80_columns(data, monkeypatch, label):
    terminal = Terminal()
    monkeypatch.setattr(sys, 'stderr', terminal)
    monkeypatch.setenv('COLUMNS', '80')
    dls = loaders(data)
    learn = image_learner(dls, resnet50(dls.c, width=8), label=label)
    said = Progress.say
    def drawn(self, row): said(self, row); self.bar.ncols = 79; shown.append(str(self.bar))
    shown = []
    monkeypatch.setattr(Progress, 'say', drawn)
    learn.fit(2)
    for line in shown:
        assert len(line) <= 80 and len(line.split('|')[1]) >= 8 and 'images/s' in line and 'left, valid' in line

def test_the_first_estimate_does_not_count_the_first_batch(data, capsys, monkeypatch):
    "Which takes two hundred seconds of a clock on which everything else takes none"
    clock = SimpleNamespace(time=time.time, now=0, perf_counter=lambda: clock.now)
    monkeypatch.setattr(learner, 'time', clock)
    class Slow(Callback):
        def before_batch(self): clock.now += 200 if self.training and self.epoch == 0 and self.iter == 0 else 1
    small(data).fit(4, cbs=Slow())
    first = capsys.readouterr().out.splitlines()[0]
    assert 0 < int(re.search(r'(\d+) s left', first)[1]) < 100

@pytest.mark.parametrize('recipe', RECIPES)
@pytest.mark.parametrize('precision', ['float32', 'bf16'])
def test_an_exported_learner_predicts_what_the_original_does(data, tmp_path, recipe, precision):
    learn = small(data, recipe, precision, epochs=1)
    learn.path = tmp_path
    index = learn.dls[2].dataset.index[:5]
    logits, _ = learn.get_preds(ds_idx=2)
    learn.export('learner.pkl')
    assert (tmp_path/'learner.pkl').stat().st_size < 3*sum(p.numel()*4 for p in learn.model.parameters())+1_000_000
    loaded = load_learner(tmp_path/'learner.pkl')
    for i, expected in zip(index, logits):
        for one in (learn, loaded):
            name, number, probabilities = one.predict(data.images[i])
            assert name == data.superclasses[expected.argmax()] and number == expected.argmax()
            assert torch.allclose(probabilities, expected, atol=1e-2 if precision == 'bf16' else 1e-5)
    assert epochs(learn) == [1]

def test_interpretation_knows_the_names_of_the_classes(data):
    learn = small(data, epochs=1)
    found = ClassificationInterpretation.from_learner(learn)
    names = set(data.superclasses)
    assert found.confusion_matrix().sum() == len(learn.dls.valid.dataset) and found.confusion_matrix().shape == (3, 3)
    assert {name for row in found.most_confused() for name in row[:2]} <= names
    found.print_classification_report()
    found.plot_top_losses(4)
    titles = [ax.get_title() for ax in plt.gcf().axes]
    shown = [title for title in titles if title]
    assert len(shown) == 4 and all(any(name in title for name in names) for title in shown), titles
    plt.close('all')

def test_test_time_augmentation_looks_at_warped_images_and_leaves_everything_as_it_was(data):
    set_seed(0)
    dls = loaders(data, augment=True)
    learn = image_learner(dls, resnet50(dls.c, width=8))
    learn.fit(1)
    plain, labels = learn.get_preds(ds_idx=2)
    warped, same = learn.tta(ds_idx=2, n=2, beta=0)
    assert torch.equal(labels, same) and torch.allclose(warped.sum(1), torch.ones(len(labels)))
    assert (warped-plain).abs().max() > 1e-4
    assert torch.allclose(learn.tta(ds_idx=2, n=1, beta=1)[0], plain)
    assert torch.equal(learn.get_preds(ds_idx=2)[0], plain)
    assert learn.tta(dl=dls.test_dl(list(data.images[:3])))[0].shape == (3, 3) and epochs(learn) == [1]
    learn.fit(1)
    assert epochs(learn) == [1, 2]

def test_test_time_augmentation_without_augmentation_is_the_prediction(data):
    learn = small(data, epochs=1)
    assert torch.allclose(learn.tta(n=2)[0], learn.get_preds()[0])

def test_any_picture_can_be_predicted(data, tmp_path):
    learn = small(data, epochs=1)
    pixels = data.images[40].transpose(1, 2, 0)
    Image.fromarray(pixels).save(tmp_path/'é.png')
    expected = learn.predict(data.images[40])
    items = [tmp_path/'é.png', str(tmp_path/'é.png'), Image.fromarray(pixels), pixels, torch.tensor(pixels),
             torch.tensor(data.images[40])]
    for item in items: assert torch.equal(learn.predict(item)[2], expected[2])
    assert torch.allclose(learn.get_preds(dl=learn.dls.test_dl(items))[0], expected[2].expand(6, 3), atol=1e-6)
    other_size, grey = np.kron(pixels, np.ones((3, 2, 1), np.uint8)), Image.fromarray(pixels).convert('LA')
    assert all(len(learn.predict(item)[2]) == 3 for item in (other_size, other_size.transpose(2, 0, 1), grey))
    learn.path = tmp_path
    learn.export('e.pkl')
    loaded = load_learner(tmp_path/'e.pkl')
    assert torch.allclose(loaded.predict(tmp_path/'é.png')[2], expected[2], atol=1e-5)
    assert (loaded.dls.c, list(loaded.dls.vocab)) == (3, data.superclasses)

@pytest.mark.parametrize('item, message', [
    (np.zeros((3, 16, 16), np.float32),
     r'image float32 \(16, 16, 3\): expected uint8 \(3, H, W\), a PIL image or a path'),
     (torch.rand(16, 16), r'image float32 \(16, 16\)'),
    (np.zeros((3, 0, 16), np.uint8), r'image uint8 \(0, 16, 3\)'), (7.5, 'image float: expected'),
    ('nowhere.png', 'nowhere.png: image missing')])
def test_what_is_no_picture_is_not_predicted(data, item, message):
    with pytest.raises(InputError, match=message): small(data).predict(item)

def test_nothing_to_predict(data):
    with pytest.raises(InputError, match='no image: expected at least one'): small(data).dls.test_dl([])

class Steps(Callback):
    "Learning rates of all of torch's groups at every step"
    order = 90
    def before_fit(self): self.seen = []
    def before_step(self): self.seen.append({g['lr'] for g in self.opt.opt.param_groups if g['params']})

@pytest.mark.parametrize('recipe', RECIPES)
def test_fine_tuning_has_one_rate_for_matrices_and_vectors(data, recipe):
    learn = small(data, recipe)
    learn.fine_tune(2, 1e-2, cbs=(steps := Steps()))
    assert all(len(rates) == 1 for rates in steps.seen) and max(max(rates) for rates in steps.seen) > 2e-3
    learn.freeze()    # one group, as in a Learner that was given no splitter
    assert all(p.requires_grad for p in learn.model.parameters()) and epochs(learn) == [1, 2, 3]

def test_a_plateau_reduces_the_rate_that_is_used(data):
    learn = small(data)
    learn.fit(4, cbs=[ReduceLROnPlateau(patience=1, min_delta=99, factor=4), steps := Steps()])
    assert sorted({rate for rates in steps.seen for rate in rates}, reverse=True) == pytest.approx([1e-3, 2.5e-4,
        6.25e-5])

def test_the_schedule_rises_to_the_rate_that_fit_is_given(data):
    learn = small(data, 'one-cycle')
    for given, highest in ((3e-3, 3e-3), (None, 1e-3)):
        learn.fit(4, lr=given, cbs=(steps := Steps()))
        assert .9*highest < max(max(rates) for rates in steps.seen) <= highest

def test_groups_of_a_splitter_have_rates_of_their_own():
    body, head = nn.Linear(3, 4), nn.Linear(4, 2)
    opt = Groups([list(body.parameters()), list(head.parameters())], opt=RECIPES['one-cycle'].opt_func.keywords['opt'],
                 lr=.1)
    opt.set_hyper('lr', slice(.001, .1))
    assert [g['lr'] for g in opt.opt.param_groups] == pytest.approx([.001, .001, .1, .1])
    assert [h['lr'] for h in opt.hypers] == pytest.approx([.001, .1])
    opt.freeze_to(-1)
    assert [p.requires_grad for m in (body, head) for p in m.parameters()] == [False, False, True, True]

@pytest.mark.parametrize('look', [lambda learn: learn.validate(), lambda learn: learn.tta(n=1),
                                  lambda learn: learn.lr_find(num_it=6, show_plot=False)],
                                  ids=['validate', 'tta', 'lr_find'])
def test_a_look_at_a_learner_leaves_its_checkpoint_alone(data, tmp_path, look):
    learn = small(data)
    learn.path = tmp_path
    learn.add_cb(kept := Checkpoints(tmp_path/'kept'))
    learn.fit(1)
    before = {p: p.stat().st_mtime_ns for p in kept.find()}
    look(learn)
    assert {p: p.stat().st_mtime_ns for p in kept.find()} == before and epochs(learn) == [1]
    learn.fit(2)
    assert epochs(learn) == [1, 2]    # the first is behind it

def test_the_last_layer_is_found_or_asked_for(data):
    dls = loaders(data)
    net = resnet50(dls.c, width=8)
    before = deepcopy(net.state_dict())
    image_learner(dls, nn.DataParallel(net), freeze=True).fit(1)
    assert [k for k, v in net.state_dict().items() if not torch.equal(v, before[k])] == ['fc.weight', 'fc.bias']
    assert classifier(torch.compile(nn.DataParallel(net))) is net.fc
    with pytest.raises(InputError, match='Sequential: no last layer: expected one called fc or head'):
        image_learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(768, 3)), freeze=True)

def test_channels_last_is_switched_on_and_off(data):
    learn = small(data)
    assert learn.to_channelslast(use_amp=False) is learn and learn.to_contiguous() is learn
    learn.fit(1)
    assert next(p for p in learn.model.parameters() if p.ndim == 4 and p.shape[1] > 1).is_contiguous()

# ---- what a Learner leaves, and what it takes
def test_a_learner_that_showed_a_bar_can_be_exported_and_copied(data, tmp_path, monkeypatch):
    controller, terminal = os.openpty()
    termios.tcsetwinsize(terminal, (24, 80))
    with open(terminal, 'w', encoding='utf-8') as stderr, monkeypatch.context() as patch:
        patch.setattr(sys, 'stderr', stderr)
        learn = image_learner(loaders(data), resnet50(3, width=8))
        learn.fit(1)
        learn.export(tmp_path/'learner.pkl')
        deepcopy(learn)
        assert b'training' in os.read(controller, 1000)    # there was a bar
    os.close(controller)
    assert load_learner(tmp_path/'learner.pkl').dls.c == 3

@pytest.mark.parametrize('wd', [0., .3])
def test_weight_decay_that_fit_is_given_is_not_of_biases_and_norms(data, wd):
    learn = image_learner(loaders(data), resnet50(3, width=8), 'one-cycle')
    learn.fit(1, wd=wd, cbs=StopAfter(1))
    assert [g['weight_decay'] for g in learn.opt.opt.param_groups] == [wd, 0]
    assert all((p.ndim > 1) == (g is learn.opt.opt.param_groups[0]) for g in learn.opt.opt.param_groups
               for p in g['params'])

def test_a_frozen_training_leaves_the_network_as_free_as_it_was(data):
    net = resnet50(3, width=8)
    net.bn1.bias.requires_grad_(False)    # by somebody else
    learn = image_learner(loaders(data), net, freeze=True)
    learn.fit(1, cbs=StopAfter(1))
    assert [k for k, p in net.named_parameters() if not p.requires_grad] == ['bn1.bias']
    before = deepcopy(net.state_dict())
    learn.remove_cb(FrozenBackbone)
    learn.fit(1, cbs=StopAfter(1))
    assert [torch.equal(before[k], net.get_parameter(k)) for k in ('conv1.weight', 'bn1.weight', 'bn1.bias',
        'fc.bias')] == [False, False, True, False]

@pytest.mark.parametrize('net, freeze, message', [
    (lambda: resnet50(2, width=8), False, 'ResNet: 2 outputs: expected one for each of 3 classes'),
    (lambda: nn.DataParallel(vit_tiny(img_size=16, num_classes=1)), False,
     'DataParallel: 1 outputs: expected one for each of 3 classes'),
    (lambda: new_model('resnet50', width=8).reset(), True, 'HubResNet: no weights in its last layer: expected some')])
def test_a_last_layer_that_does_not_fit_is_said_before_training(data, net, freeze, message, monkeypatch):
    def reset(net): net.reset_classifier(0); return net
    monkeypatch.setattr(ResNet, 'reset', reset, raising=False)
    with pytest.raises(InputError, match=f'^{message}$'): image_learner(loaders(data), net(), freeze=freeze)

def test_loaders_of_fastai_are_refused(data):
    files = SimpleNamespace(c=3, vocab=['a', 'b', 'c'], loaders=[], device=torch.device('cpu'))
    with pytest.raises(InputError, match='^dls: expected the loaders that image_loaders makes$'):
        image_learner(files, resnet50(3, width=8))

def test_images_to_predict_come_in_every_kind_that_fastai_takes(data, tmp_path):
    learn = image_learner(loaders(data), resnet50(3, width=8))
    pixels = data.images[[0, 40, 80]]
    for i, p in enumerate(pixels): Image.fromarray(p.transpose(1, 2, 0)).save(tmp_path/f'{i}.png')
    paths = [str(p) for p in sorted(tmp_path.glob('*.png'))]
    expected = learn.get_preds(dl=learn.dls.test_dl(paths))[0]
    for given in (tuple(paths), iter(paths), pd.Series(paths), np.array(paths), pixels, torch.tensor(pixels),
                  [*map(Image.open, paths)]):
        assert torch.equal(learn.get_preds(dl=learn.dls.test_dl(given))[0], expected)
    for one in (paths[0], tmp_path/'0.png', Image.open(paths[0])):
        assert torch.allclose(learn.get_preds(dl=learn.dls.test_dl(one))[0], expected[:1], atol=1e-5)
    with pytest.raises(InputError, match='^no image: expected at least one$'): learn.dls.test_dl(np.array([]))

def test_progress_that_was_taken_away_comes_back(data, capsys):
    learn = image_learner(loaders(data), resnet50(3, width=8))
    bar = learn.progress
    for _ in range(2):
        with learn.no_bar():
            with learn.no_bar(): learn.fit(1)
        assert capsys.readouterr().out == ''
    learn.fit(1)
    assert learn.progress is bar and [cb.name for cb in learn.cbs].count('progress') == 1
    assert 'epoch 1/1' in capsys.readouterr().out
    learn.remove_cb(bar)
    with learn.no_bar(): learn.fit(1)
    assert not hasattr(learn, 'progress')

@pytest.mark.parametrize('bar', [ConsoleMasterBar, NBMasterBar])
def test_a_graph_of_the_losses_is_drawn(data, tmp_path, monkeypatch, bar):
    drawn, learn = [], image_learner(loaders(data), resnet50(3, width=8))
    monkeypatch.setattr('resvit_nb.learner.master_bar', bar)
    monkeypatch.setattr(bar, 'update_graph', lambda self, graphs, *args: drawn.append([len(g[0]) for g in graphs]))
    learn.fit(3, cbs=ShowGraphCallback())
    n = len(learn.dls.train)
    assert drawn == [[n, 1], [2*n, 2], [3*n, 3]]
    learn.tta()
    learn.export(tmp_path/'learner.pkl')
    assert load_learner(tmp_path/'learner.pkl').progress.bar is None and deepcopy(learn).progress.label == 'training'
