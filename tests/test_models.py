"Networks and files of weights: bad arguments, bad files and unusual ways of use."
import json
from dataclasses import replace
from pathlib import Path
import numpy as np, pytest, timm, torch
from safetensors import safe_open
from safetensors.torch import save_file
from timm.optim import create_optimizer_v2
from torch import nn
from unittest.mock import patch as replaced
from resvit_nb.core import InputError
from resvit_nb.resnet import ResNet, resnet50
from resvit_nb.vit import ViT, vit_tiny
from resvit_nb.config import RANGES
from resvit_nb.weights import fit_weights, load_weights, read_weights, save_weights
from resvit_nb.model_info import LARGEST, NOVELTY_SCORES, ModelInfo, read_config
from resvit_nb.models import MODELS, HubResNet, HubViT, count_multiply_adds, create_model, new_model, parameter_groups
from resvit_nb.model_folders import load_model, save_model, set_novelty
from resvit_nb.novelty import LOGIT_SCORES

VIT = dict(img_size=32, patch_size=4, dim=48, depth=2, heads=3)


def refused(f, *args, **kwargs):
    "The message of the InputError that `f` ends with; it has to be a single line"
    with pytest.raises(InputError) as error: f(*args, **kwargs)
    assert '\n' not in str(error.value)
    return str(error.value)

def narrow(**kwargs): return new_model('resnet50', **{'width': 8, 'num_classes': 3} | kwargs)
def small_vit(**kwargs): return new_model('vit_tiny', **VIT | {'num_classes': 3} | kwargs)
def logits(net, x):
    with torch.no_grad(): return net.eval()(x)


@pytest.mark.parametrize('make, message', [
    (lambda: resnet50(drop=1.5), 'drop: expected a rate with 0 <= drop < 1, got 1.5'),
    (lambda: resnet50(drop=float('nan')), 'drop: expected a rate with 0 <= drop < 1, got nan'),
    (lambda: resnet50(width=0), 'width: expected a positive whole number, got 0'),
    (lambda: resnet50(num_classes=2.5), 'num_classes: expected a positive whole number, got 2.5'),
    (lambda: ResNet((3, 4, 6)), 'depths: expected four positive whole numbers, got (3, 4, 6)'),
    (lambda: ViT(30, 4), 'img_size: expected one or two positive multiples of patch_size=4, got 30'),
    (lambda: vit_tiny(img_size=(32, 40)),
     'img_size: expected one or two positive multiples of patch_size=16, got (32, 40)'),
    (lambda: ViT(patch_size=0), 'patch_size: expected a positive whole number, got 0'),
    (lambda: ViT(dim=96, heads=5), 'heads: expected a divisor of dim=96, got 5'),
    (lambda: ViT(depth=2.5), 'depth: expected a positive whole number, got 2.5'),
    (lambda: vit_tiny(num_classes=0), 'num_classes: expected a positive whole number, got 0'),
    (lambda: ViT(mlp_ratio=-1), 'mlp_ratio: expected a number from 1/768, got -1'),
    (lambda: ViT(dim=96, mlp_ratio=.01), 'mlp_ratio: expected a number from 1/96, got 0.01'),
    (lambda: ViT(mlp_ratio=float('inf')), 'mlp_ratio: expected a number from 1/768, got inf'),
    (lambda: ResNet(depths=3), 'depths: expected four positive whole numbers, got 3'),
    (lambda: vit_tiny(drop=1.5), 'drop: expected a rate with 0 <= drop < 1, got 1.5'),
    (lambda: ViT(inner_drop=float('nan')), 'inner_drop: expected a rate with 0 <= inner_drop < 1, got nan'),
    (lambda: vit_tiny(gelu='relu'), "gelu: expected 'exact' or 'tanh', got 'relu'"),
    (lambda: new_model('resnet51'), "name 'resnet51': expected one of resnet50, vit_tiny, vit_small, vit_base"),
    (lambda: create_model(['vit_tiny']), "name ['vit_tiny']: expected one of resnet50, vit_tiny, vit_small, vit_base"),
    (lambda: new_model('resnet50', widht=16),
     'widht: no option of resnet50; expected one of depths, num_classes, width, '
                                              'drop, zero_init_last, small_stem, in_chans'),
    (lambda: new_model('vit_tiny', img_size=30),
     'img_size: expected one or two positive multiples of patch_size=16, got 30'),
    (lambda: create_model('resnet50', 0), 'num_classes: expected a positive whole number, got 0'),
    (lambda: create_model('vit_tiny', drop=1.), 'drop: expected a rate with 0 <= drop < 1, got 1.0'),
    *((lambda make=make: make(num_classes=True), 'num_classes: expected a positive whole number, got True')
      for make in (resnet50, vit_tiny, narrow, small_vit)),
    (lambda: small_vit(depth=True), 'depth: expected a positive whole number, got True'),
    (lambda: narrow().reset_classifier(False), 'num_classes: expected a whole number from 0, got False'),
    (lambda: narrow(width=np.int16(0)), 'width: expected a positive whole number, got 0'),
    (lambda: narrow(drop=np.float32('nan')), 'drop: expected a rate with 0 <= drop < 1, got nan'),
])
def test_bad_argument(make, message): assert refused(make) == message

NUMPY_RESNET = dict(num_classes=np.int32(5), width=np.int64(8), depths=(np.int8(1),)*4, drop=np.float16(.25),
                    small_stem=np.True_)
NUMPY_VIT = dict(img_size=(np.int64(8), np.int16(24)), patch_size=np.int8(4), num_classes=np.uint8(5), dim=np.int64(48),
                 depth=np.int64(1), heads=np.int64(3), inner_drop=np.float32(.5))

@pytest.mark.parametrize('cls, sizes', [(HubResNet, NUMPY_RESNET), (HubViT, NUMPY_VIT), (ResNet, NUMPY_RESNET),
                                        (ViT, NUMPY_VIT)])
def test_numbers_of_numpy_are_numbers(tmp_path, cls, sizes):
    torch.manual_seed(0)
    net, x = cls(**sizes), torch.randn(2, 3, 8, 24)
    assert logits(net, x).shape == (2, 5)
    assert [m.p for m in net.modules() if isinstance(m, nn.Dropout) and m.p] == ([.25] if 'width' in sizes else [.5]*3)
    if cls not in (HubResNet, HubViT): return
    net.reset_classifier(np.int64(7))
    net.save_pretrained(tmp_path/'net')
    again = cls.from_pretrained(tmp_path/'net')
    assert torch.equal(logits(again, x), logits(net, x)) and again.num_classes == 7

@pytest.mark.parametrize('net, shape, wanted', [(narrow, (3, 32, 32), '(B, 3, H, W)'),
                                                (narrow, (2, 1, 32, 32), '(B, 3, H, W)'),
    *((small_vit, shape, '(B, 3, 32, 32)') for shape in ((2, 3, 64, 64), (3, 32, 32), (2, 1, 32, 32)))])
def test_images_of_another_shape(net, shape, wanted):
    message = refused(net().eval(), torch.zeros(shape))
    assert message == f'images: expected a tensor of shape {wanted}, got {shape}'


def test_unreadable_files(tmp_path):
    torch.save({'fc.weight': Path('/')}, tmp_path/'bad.pth')
    (tmp_path/'torn.safetensors').write_bytes(b'\x40\0\0\0\0\0\0\0{"fc.weight":')
    (tmp_path/'torn.pth').write_bytes((tmp_path/'bad.pth').read_bytes()[:200])
    (tmp_path/'empty.pt').touch()
    torch.save({'model': {}, 'opt': {}}, tmp_path/'run.pth')
    torch.save(torch.zeros(3), tmp_path/'tensor.pth')
    said = {file: refused(read_weights, tmp_path/file).replace(f'{tmp_path}/', '') for file in
            ('bad.pth', 'torn.safetensors', 'torn.pth', 'empty.pt', 'run.pth', 'tensor.pth', 'none.pth', 'weights.h5')}
    assert said['bad.pth'] == 'weights: bad.pth is damaged, or holds code, which is not run; expected tensors only'
    assert said['none.pth'] == 'weights: there is no file none.pth'
    assert said['run.pth'] == "weights: run.pth, entry 'model': expected a tensor, found a dict"
    assert said['torn.safetensors'] == 'weights: torn.safetensors is damaged or no .safetensors file (SafetensorError)'
    assert said['torn.pth'].startswith('weights: torn.pth is damaged')
    assert said['empty.pt'].startswith('weights: empty.pt is damaged')
    assert said['tensor.pth'] == 'weights: tensor.pth holds a Tensor; expected a dict of tensors by name'
    assert said['weights.h5'] == (
        "weights: expected None, 'imagenet' or a .safetensors, .pth or .pt file, got 'weights.h5'")

@pytest.mark.parametrize('content', [b'\x80\x02(.', b'\x80\x04\x95\x01.', b'\x80\x02h\x07.',
                                     b'\x80\x02(K\x01K\x02K\x03u.', b'\x80\x02Nb.', b'\x80\x02\x8a\xff',
                                     b'PK\x05\x06'+bytes(18), bytes(range(256))])
@pytest.mark.parametrize('suffix', ['.pth', '.pt'])
def test_damaged_pickles(tmp_path, content, suffix):
    (tmp_path/f'w{suffix}').write_bytes(content)
    assert refused(read_weights, tmp_path/f'w{suffix}').startswith(f'weights: {tmp_path}/w{suffix} is damaged')

@pytest.mark.parametrize('error', [AssertionError, AttributeError, TypeError, RecursionError, ZeroDivisionError])
def test_whatever_a_damaged_file_raises(tmp_path, monkeypatch, error):
    def spoil(*args, **kwargs): raise error('deep inside')
    (tmp_path/'w.pt').touch()
    monkeypatch.setattr('torch.load', spoil)
    assert refused(read_weights,
                   tmp_path/'w.pt') == f'weights: {tmp_path}/w.pt is damaged or no .pt file ({error.__name__})'
    def full(*args, **kwargs): raise MemoryError
    monkeypatch.setattr('torch.load', full)
    with pytest.raises(MemoryError): read_weights(tmp_path/'w.pt')

def test_entries_without_a_name(tmp_path):
    torch.save({3: torch.zeros(2)}, tmp_path/'w.pt')
    assert refused(read_weights, tmp_path/'w.pt') == f'weights: {tmp_path}/w.pt, entry 3: expected a name'

def test_misfits():
    old, same, tiny = narrow().state_dict(), narrow(), small_vit()
    without = {k: v for k, v in old.items() if k != 'layer2.1.conv2.weight'}
    assert refused(fit_weights, same,
                   {k: v for k, v in old.items() if k != 'fc.bias'}) == "entry 'fc.bias': expected [3], found nothing"
    assert refused(fit_weights, same,
                   old | {'layer5.weight': torch.zeros(2)}) == "entry 'layer5.weight': expected nothing, found [2]"
    assert refused(fit_weights, same,
                   without) == "entry 'layer2.1.conv2.weight': expected [16, 16, 3, 3], found nothing"
    assert refused(fit_weights, same,
                   narrow(width=16).state_dict()) == "entry 'conv1.weight': expected [8, 3, 7, 7], found [16, 3, 7, 7]"
    assert refused(fit_weights, same,
                   narrow(small_stem=True).state_dict()) == (
        "entry 'conv1.weight': expected [8, 3, 7, 7], found [8, 3, 3, 3]")
    assert refused(fit_weights, same, tiny.state_dict()) == "entry 'conv1.weight': expected [8, 3, 7, 7], found nothing"
    other_patch = small_vit(patch_size=8).state_dict()
    assert refused(fit_weights, tiny,
                   other_patch) == "entry 'patch_embed.proj.weight': expected [48, 3, 4, 4], found [48, 3, 8, 8]"

def test_misfit_names_the_file(tmp_path):
    file = save_weights(narrow(), tmp_path/'old.safetensors')
    wanted = f"weights: {file}, entry 'conv1.weight': expected [64, 3, 7, 7], found [8, 3, 7, 7]"
    assert refused(create_model, 'resnet50', 3, weights=file) == wanted
    assert refused(create_model, 'vit_tiny', 3,
                   weights=file).startswith(f"weights: {file}, entry 'cls_token': expected [1, 1, 192]")
    assert refused(create_model, 'resnet50', 3, weights='imagnet').endswith(" .pth or .pt file, got 'imagnet'")
    assert refused(create_model, 'resnet50', 3,
                   weights=tmp_path/'none.pth') == f"weights: there is no file {tmp_path/'none.pth'}"

def test_saving_to_a_bad_place(tmp_path):
    assert refused(save_weights, narrow(), tmp_path/'old.pth').startswith('path: expected a .safetensors file')
    assert refused(save_weights, narrow(),
                   tmp_path/'nowhere'/'old.safetensors') == f"path: there is no folder {tmp_path/'nowhere'}"

def test_a_full_disk_leaves_the_old_file(tmp_path):
    file = save_weights(narrow(), tmp_path/'old.safetensors')
    before = file.read_bytes()
    def disk_full(*args): raise OSError(28, 'No space left on device')
    with replaced('os.fsync', disk_full):
        assert refused(save_weights, narrow(), file) == f'{file}: cannot be written (No space left on device)'
    assert file.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ['old.safetensors']


@pytest.mark.parametrize('name', MODELS)
def test_multiply_adds_on_any_device_and_in_any_mode(name):
    sizes = dict(width=8) if name == 'resnet50' else dict(VIT, img_size=(32, 64))
    size = 48 if name == 'resnet50' else (32, 64)
    net = new_model(name, **sizes)
    with torch.device('meta'): same = new_model(name, **sizes)
    next(net.children()).eval()
    modes, state = [m.training for m in net.modules()], {k: v.clone() for k, v in net.state_dict().items()}
    assert count_multiply_adds(net, size) == count_multiply_adds(same, size) > 1e5
    assert [m.training for m in net.modules()] == modes
    for k, v in net.state_dict().items(): assert torch.equal(v, state[k])
    assert count_multiply_adds(net.half(), size) == count_multiply_adds(same, size)

def test_multiply_adds_leave_the_mode_where_the_image_does_not_fit():
    net = small_vit().train()
    refused(count_multiply_adds, net, 64)
    assert all(m.training for m in net.modules())


@pytest.mark.parametrize('suffix', ['.safetensors', '.pth'])
@pytest.mark.parametrize('entry, spoil, found', [
    ('layer3.0.conv1.weight', lambda v: (100*v).int(), 'floating-point numbers, found torch.int32'),
    ('layer3.0.conv1.weight', lambda v: v > 0, 'floating-point numbers, found torch.bool'),
    ('bn1.running_var', lambda v: v.to(torch.complex64), 'floating-point numbers, found torch.complex64'),
    ('bn1.num_batches_tracked', lambda v: v + .5, 'whole numbers, found torch.float32'),
    ('bn1.running_var', lambda v: v/0, 'finite numbers, found NaN or infinity'),
    ('fc.weight', lambda v: v.index_fill(1, torch.tensor([5]), float('nan')), 'finite numbers, found NaN or infinity'),
    ('fc.bias', lambda v: v.bfloat16() - float('inf'), 'finite numbers, found NaN or infinity')])
def test_numbers_that_no_network_can_have(tmp_path, suffix, entry, spoil, found):
    net, fresh = narrow(), narrow()
    before = {k: v.clone() for k, v in fresh.state_dict().items()}
    state = net.state_dict() | {entry: spoil(net.state_dict()[entry])}
    if suffix == '.pth': torch.save(state, tmp_path/'bad.pth')
    else: save_file(state, tmp_path/'bad.safetensors')
    assert refused(load_weights, fresh,
                   tmp_path/f'bad{suffix}') == f'weights: {tmp_path}/bad{suffix}, entry {entry!r}: expected {found}'
    for k, v in fresh.state_dict().items(): assert torch.equal(v, before[k])

def test_sparse_weights(tmp_path):
    state = narrow().state_dict()
    torch.save(state | {'fc.weight': state['fc.weight'].to_sparse()}, tmp_path/'sparse.pth')
    wanted = "entry 'fc.weight': expected floating-point numbers, found torch.sparse_coo"
    assert refused(load_weights, narrow(), tmp_path/'sparse.pth').endswith(wanted)

@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_read(tmp_path, dtype):
    net, fresh = small_vit(), small_vit()
    torch.save({k: v.to(dtype) for k, v in net.state_dict().items()}, tmp_path/'net.pth')
    load_weights(fresh, tmp_path/'net.pth')
    for k, v in fresh.state_dict().items(): torch.testing.assert_close(v, net.state_dict()[k].to(dtype).float())


def columns(net, rows):
    "What each place knows of its column, as a map of `rows` rows"
    return net.pos_embed[0, 1:, 0].detach().unflatten(0, (rows, -1))

def knows_columns(size):
    "A network for images of `size` whose positions know their column"
    net = small_vit(img_size=size)
    rows, n = net.patch_embed.grid
    with torch.no_grad(): net.pos_embed[0, 1:] = torch.linspace(-1, 1, n).repeat(rows)[:, None]
    return net

@pytest.mark.parametrize('old, new', [((8, 32), 16), ((8, 32), (32, 8)), ((36, 8), 12), ((8, 32), 32),
                                      ((12, 24), (24, 12))])
@pytest.mark.parametrize('given', [False, True])
def test_positions_keep_their_columns(tmp_path, old, new, given):
    net, other = knows_columns(old), small_vit(img_size=new)
    if given:
        torch.save(net.state_dict(), tmp_path/'net.pth')
        load_weights(other, tmp_path/'net.pth', grid=net.patch_embed.grid)
    else: load_weights(other, save_weights(net, tmp_path/'net.safetensors'))
    resized = columns(other, other.patch_embed.grid[0])
    assert (resized - resized[:1]).abs().max() < 1e-5 and (resized.diff(dim=1) > 0).all()

def test_square_grids_leave_no_note(tmp_path):
    for size, note in ((32, None), ((8, 32), '2x8')):
        with safe_open(save_weights(small_vit(img_size=size), tmp_path/'net.safetensors'), 'pt') as f:
            # one entry, so that the bytes are the same
            assert f.metadata() == ({'grid': note} if note else {'format': 'pt'})

def test_grids_that_do_not_fit_the_positions(tmp_path):
    net = small_vit(img_size=(8, 24))
    torch.save(net.state_dict(), tmp_path/'net.pth')
    assert 'pos_embed: expected positions of a grid' in refused(load_weights, small_vit(), tmp_path/'net.pth')
    assert 'pos_embed: expected positions of a grid (3, 3)' in refused(load_weights, small_vit(), tmp_path/'net.pth',
        grid=(3, 3))
    for note in ('2by6', '0x12', '-2x-6', '2x6x1', '9999999x1', ''):
        save_file(net.state_dict(), tmp_path/'net.safetensors', metadata={'grid': note})
        message = refused(load_weights, small_vit(), tmp_path/'net.safetensors')
        assert message == (
            f"weights: {tmp_path}/net.safetensors, grid in its header: expected ROWSxCOLUMNS, found {note!r}")


SMALL = {'resvit_resnet50': dict(width=8), 'resvit_vit_tiny': dict(VIT)}
both = pytest.mark.parametrize('name', SMALL)
def from_timm(name, **kwargs): return timm.create_model(name, **SMALL[name] | kwargs)

@both
def test_without_a_classifier(tmp_path, name):
    torch.manual_seed(0)
    x, full = torch.randn(3, 3, 32, 32), from_timm(name, num_classes=7)
    file = save_weights(full, tmp_path/'full.safetensors')
    net = from_timm(name, num_classes=0, pretrained=True, pretrained_cfg_overlay=dict(file=file))
    assert isinstance(net.get_classifier(), nn.Identity) and net.num_classes == 0
    features = logits(net, x)
    assert features.shape == (3, net.num_features)
    torch.testing.assert_close(full.get_classifier()(features), logits(full, x))
    groups = parameter_groups(net)
    assert groups[-1] == [] and {id(p) for g in groups for p in g} == {id(p) for p in net.parameters()}

@both
def test_a_new_classifier(name):
    net = from_timm(name, num_classes=7).double()
    rest = {k: v.clone() for k, v in net.state_dict().items() if not k.startswith(('fc.', 'head.'))}
    net.reset_classifier(4)
    assert net.num_classes == 4 and net.get_classifier().weight.shape == (4, net.num_features)
    assert logits(net, torch.randn(2, 3, 32, 32, dtype=torch.float64)).shape == (2, 4)
    for k, v in rest.items(): assert torch.equal(v, net.state_dict()[k])
    assert refused(net.reset_classifier, -1) == 'num_classes: expected a whole number from 0, got -1'
    assert refused(net.reset_classifier, 2.) == 'num_classes: expected a whole number from 0, got 2.0'
    assert refused(net.reset_classifier, 3, 'catavgmax').startswith('global_pool: expected None or ')
    assert net.num_classes == 4

@both
@pytest.mark.parametrize('classes', [0, 6])
def test_to_the_hub_and_back_with_a_new_classifier(tmp_path, name, classes):
    torch.manual_seed(0)
    net, x = from_timm(name, num_classes=3), torch.randn(2, 3, 32, 32)
    net.reset_classifier(classes)
    net.save_pretrained(tmp_path/'pushed')
    assert torch.equal(logits(type(net).from_pretrained(tmp_path/'pushed'), x), logits(net, x))

@both
def test_what_timm_asks_for_and_we_do_not_have(name):
    assert refused(from_timm, name, in_chans=0) == 'in_chans: expected a positive whole number, got 0'
    assert refused(from_timm, name, features_only=True).startswith('features_only: expected False')
    assert refused(from_timm, name, drop_path_rate=.1).startswith('drop_path_rate: no option of ')
    assert refused(from_timm, name, num_classes=-1).startswith('num_classes: expected a positive whole number, got -1')

@both
def test_configuration(name):
    net = from_timm(name)
    assert net.default_cfg == net.pretrained_cfg and len(net.default_cfg['mean']) == 3
    side = 224 if name == 'resvit_resnet50' else 32
    assert timm.data.resolve_model_data_config(net)['input_size'] == (3, side, side)

@pytest.mark.parametrize('name, sizes', [('resvit_resnet50', {}), ('resvit_vit_tiny', VIT)])
def test_fastai_trains_a_batch(name, sizes):
    from fastai.vision.all import DataLoaders, TensorCategory, TensorImage, vision_learner
    torch.manual_seed(0)
    items = [(TensorImage(torch.randn(3, 32, 32)), TensorCategory(i % 3)) for i in range(4)]
    dls = DataLoaders.from_dsets(items, items, bs=4, num_workers=0, device='cpu')
    learn = vision_learner(dls, name, pretrained=False, n_out=3, loss_func=nn.CrossEntropyLoss(), **sizes)
    before = [p.clone() for p in learn.model.parameters()]
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
    assert torch.isfinite(torch.tensor(learn.recorder.values[-1])).all()
    assert sum(not torch.equal(p, q) for p, q in zip(before, learn.model.parameters())) > len(before)/2
    with torch.no_grad(): assert learn.model.eval()(torch.randn(2, 3, 32, 32)).shape == (2, 3)


@both
@pytest.mark.parametrize('channels', [1, 2, 4, 6])
def test_images_of_other_channels(tmp_path, name, channels):
    torch.manual_seed(0)
    three = from_timm(name, num_classes=3)
    file = save_weights(three, tmp_path/'three.safetensors')
    net = from_timm(name, num_classes=3, in_chans=channels, pretrained=True, pretrained_cfg_overlay=dict(file=file))
    first = {'resvit_resnet50': lambda n: n.conv1, 'resvit_vit_tiny': lambda n: n.patch_embed.proj}[name]
    assert torch.equal(first(net).weight, timm.models.adapt_input_conv(channels, first(three).weight.detach()))
    assert logits(net, torch.randn(2, channels, 32, 32)).shape == (2, 3)
    assert f'(B, {channels}, ' in refused(net, torch.randn(2, 3 if channels != 3 else 1, 32, 32))
    net.save_pretrained(tmp_path/'net')
    x = torch.randn(2, channels, 32, 32)
    assert torch.equal(logits(type(net).from_pretrained(tmp_path/'net'), x), logits(net, x))

@both
@pytest.mark.parametrize('sizes', [dict(drop_rate=.4), {}])
def test_checkpointing_changes_no_bit(name, sizes):
    found = []
    for again in (False, True, False):
        torch.manual_seed(3)
        net = from_timm(name, num_classes=3, **sizes)
        net.set_grad_checkpointing(True); net.set_grad_checkpointing(again)
        opt, x = torch.optim.SGD(net.parameters(), .1, momentum=.9), torch.randn(3, 4, 3, 32, 32)
        for batch in x: opt.zero_grad(); net.train()(batch).square().sum().backward(); opt.step()
        found.append({k: v.clone() for k, v in net.state_dict().items()})
    for k, v in found[0].items(): assert torch.equal(v, found[1][k]) and torch.equal(v, found[2][k]), k

@both
def test_a_compiled_network_with_checkpointing(name):
    def steps(compiled):
        torch.manual_seed(1)
        net = from_timm(name, num_classes=3, **(dict(depths=(1, 1, 1, 1)) if 'resnet' in name else {}))
        net.set_grad_checkpointing(compiled)
        f = torch.compile(net.train(), backend='aot_eager') if compiled else net.train()
        for x in torch.randn(2, 2, 3, 32, 32): f(x).square().sum().backward()
        return [*(p.grad for p in net.parameters()), *net.buffers()]
    for a, b in zip(steps(False), steps(True), strict=True): torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)

@both
@pytest.mark.parametrize('classes', [0, 4])
def test_features_by_the_name_that_timm_has_for_them(name, classes):
    torch.manual_seed(0)
    net, x = from_timm(name, num_classes=classes).eval(), torch.randn(2, 3, 32, 32)
    with torch.no_grad(): maps = net.forward_features(x); pooled = net.forward_head(maps, pre_logits=True)
    assert pooled.shape == (2, net.num_features) and torch.equal(net.get_classifier()(pooled), logits(net, x))
    assert torch.equal(net.forward_head(maps, pre_logits=False), logits(net, x))

def test_checkpointing_keeps_less():
    def saved(again):
        kept, net = [], narrow().train()
        net.set_grad_checkpointing(again)
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
            net(torch.randn(2, 3, 64, 64))
        return sum(kept)
    assert saved(True) < .5*saved(False)


INFO = ModelInfo('resnet50', 'superclass', ['a', 'b, "c"'], ['d', 'e', 'f'], [0, 1, 1], 32, 48, [.4, .5, .6],
                 [.1, .2, .3])

def folder(tmp_path, **changes):
    torch.manual_seed(0)
    place = save_model(narrow(num_classes=2), INFO, tmp_path/'model')
    if changes:
        config = json.loads((place/'config.json').read_text('utf-8'))
        (place/'config.json').write_text(json.dumps(config | changes), 'utf-8')
    return place

@pytest.mark.parametrize('target, sizes', [('superclass', {}), ('subclass', dict(small_stem=True)),
                                           ('subclass', dict(depths=(1, 1, 1, 1), drop=.5))])
def test_model_folder_and_back(tmp_path, target, sizes):
    info = replace(INFO, target=target, novelty=dict(score='entropy', threshold=2, level='subclass'),
                   scores=dict(accuracy=.5))
    net = narrow(num_classes=len(info.classes), **sizes)
    place = save_model(net, info, tmp_path/'a/b'/'model')
    for again in (load_model(place), load_model(str(place)), type(net).from_pretrained(place)):
        assert again.info == info and not again.training
        for k, v in net.state_dict().items(): assert torch.equal(v, again.state_dict()[k])
    assert sorted(p.name for p in place.iterdir()) == ['README.md', 'config.json', 'model.safetensors']
    again.save_pretrained(tmp_path/'pushed')
    for name in ('config.json', 'model.safetensors', 'README.md'):
        assert (tmp_path/'pushed'/name).read_bytes() == (place/name).read_bytes()

@pytest.mark.parametrize('changes, message', [
    (dict(format=2), 'format 2: expected 1'), (dict(format=None), 'format None: expected 1'),
    (dict(model='resnet51'), "model 'resnet51': expected one of"),
    (dict(model=['resnet50']), "model ['resnet50']: expected one of"),
    (dict(target='class'), "target 'class': expected one of"),
    (dict(superclasses=['a', 'a']), 'superclasses: expected a list of different names'),
    (dict(superclasses='ab'), 'superclasses: expected a list'), (dict(subclasses=[1, 2, 3]),
        'subclasses: expected a list'), (dict(parent=[0, 0, 0]), 'parent: expected for each subclass one of 2'),
    (dict(parent=[0, 1]), 'parent: expected'), (dict(parent=None), 'parent: expected'),
    (dict(image_size=0), 'image_size: expected pixels'), (dict(resolution='32'), 'resolution: expected pixels'),
    (dict(mean=[0, 0]), 'mean: expected three numbers'), (dict(std=[0, 1, 1]), 'std: expected numbers above 0'),
    (dict(std=[float('nan')]*3), 'std: expected three numbers'),
    (dict(novelty=dict(score='entropy')), 'novelty: expected a dict with score, threshold, level'),
    (dict(num_classes=3), 'num_classes: expected 2, got 3'),
    (dict(width=16), "entry 'conv1.weight': expected [16, 3, 7, 7]"), (dict(width='8'),
        'width: expected a positive whole number'),
        (dict(depths=3), 'depths: expected four positive whole numbers, got 3'),
    (dict(sha256='0'*64), 'damaged or changed'), (dict(novelty=7), 'novelty: expected'),
    (dict(resolution=10**25), 'resolution: expected pixels, at most 8192'),
    (dict(image_size=8193), 'image_size: expected pixels, at most 8192'),
    (dict(novelty=dict(score='entropy', threshold=-10**320, level='subclass')), 'novelty: expected a dict'),
    (dict(mean=[0, 10**320, 0]), 'mean: expected three numbers'), (dict(width=10**25),
        'sizes of no network (TypeError: '),
    (dict(novelty=dict(score='Entropy', threshold=0, level='subclass')),
     "novelty score 'Entropy': expected one of maximum softmax"), (dict(scores='good'),
         'scores: expected None, or numbers by name'), (dict(run_id=7), 'run_id: expected text')])
def test_spoilt_configurations(tmp_path, changes, message):
    place = folder(tmp_path, **changes)
    assert message in refused(load_model, place) and str(place) in refused(load_model, place)

def test_folders_that_are_none(tmp_path):
    place, net = folder(tmp_path), narrow()
    assert refused(load_model, tmp_path).endswith('no model folder: expected config.json and model.safetensors in it')
    assert refused(load_model, tmp_path/'nowhere').startswith(f'{tmp_path}/nowhere: no model folder')
    for text in (b'{"form', b'\xff\xfe', b'', b'[1]', b'['*10**5):
        (place/'config.json').write_bytes(text); assert 'config.json' in refused(load_model, place)
    (place/'config.json').write_text('{"model_type": "bert"}', 'utf-8')
    assert 'not written by resvit_nb' in refused(load_model, place)
    net.save_pretrained(tmp_path/'plain')
    assert 'not written by resvit_nb' in refused(load_model, tmp_path/'plain')

def test_limits_and_scores_are_those_of_the_pages_above():
    assert LARGEST == RANGES['image_size'][1] and NOVELTY_SCORES == tuple(LOGIT_SCORES)

@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16', 'utf-16-le', 'utf-32', 'utf-16-be'])
def test_configurations_that_are_not_utf8(tmp_path, encoding):
    place = folder(tmp_path)
    (place/'config.json').write_bytes((place/'config.json').read_text('utf-8').encode(encoding))
    for read in (load_model, read_config, HubResNet.from_pretrained):
        assert refused(read, place).startswith(f'{place}/config.json: damaged (')

def with_head(net, head): net.fc = head; return net
def with_infinity(net):
    with torch.no_grad(): net.layer2[0].bn1.running_mean[3] = float('inf')
    return net
UNFIT = {
    'of timm': (lambda: timm.create_model('resnet18', num_classes=2), {},
                "net: expected HubResNet, as create_model makes it, got 'ResNet'"),
    'plain': (lambda: resnet50(2, width=8), {}, "net: expected HubResNet, as create_model makes it, got 'ResNet'"),
    'of no kind': (lambda: nn.Sequential(nn.Linear(2, 2)), {},
                   "net: expected HubResNet, as create_model makes it, got 'Sequential'"),
    'the other one': (lambda: small_vit(num_classes=2), {},
                      "net: expected HubResNet, as create_model makes it, got 'HubViT'"),
    'classes': (lambda: narrow(num_classes=3), {}, 'num_classes: expected 2, got 3'),
    'none': (lambda: timm.create_model('resvit_resnet50', num_classes=0, width=8), {},
             'num_classes: expected 2, got 0'),
    'a head by hand': (lambda: with_head(narrow(num_classes=2), nn.Linear(256, 4)), {},
                       "entry 'fc.weight': expected [2, 256], found [4, 256]"),
    'two layers': (lambda: with_head(narrow(num_classes=2), nn.Sequential(nn.Linear(256, 2))), {},
                   "entry 'fc.weight': expected [2, 256], found nothing"),
    'infinity': (lambda: with_infinity(narrow(num_classes=2)), {},
                 "entry 'layer2.0.bn1.running_mean': expected finite numbers, found NaN or infinity"),
    'no numbers': (lambda: narrow(num_classes=2).to('meta'), {},
                   "weights: net, entry 'conv1.weight': expected a tensor, found one without numbers"),
    'side': (lambda: small_vit(num_classes=2), dict(model='vit_tiny'), 'image_size: expected (32, 32), got 48'),
    'scores': (lambda: narrow(num_classes=2), dict(scores=dict(accuracy='high')),
               "scores: expected None, or numbers by name, got {'accuracy': 'high'}"),
    'huge score': (lambda: narrow(num_classes=2), dict(scores=dict(loss=-10**310)),
                   'scores: expected None, or numbers by name'),
    'format': (lambda: narrow(num_classes=2), dict(format=0), 'format: expected 1, got 0'),
    'data': (lambda: narrow(num_classes=2), dict(data=['photos']), "data: expected text, got ['photos']")}

@pytest.mark.parametrize('make, changes, message', UNFIT.values(), ids=UNFIT)
def test_nothing_replaces_a_model_folder_that_could_not_be_loaded(tmp_path, make, changes, message):
    place = folder(tmp_path)
    before = {p.name: p.read_bytes() for p in place.iterdir()}
    for target in (place, tmp_path/'new'):
        assert refused(save_model, make(), replace(INFO, **changes), target).startswith(message)
    assert {p.name: p.read_bytes() for p in place.iterdir()} == before
    assert [p.name for p in tmp_path.iterdir()] == ['model']

@pytest.mark.parametrize('wrap', [nn.DataParallel, torch.compile, lambda net: torch.compile(nn.DataParallel(net)),
                                  lambda net: nn.DataParallel(torch.compile(net))])
def test_wrapped_networks_are_saved_as_the_plain_one(tmp_path, wrap):
    net = narrow(num_classes=2)
    again = load_model(save_model(wrap(net), INFO, tmp_path/'model'))
    assert again.info == INFO == net.info
    for state in (again.state_dict(), read_weights(save_weights(wrap(net), tmp_path/'w.safetensors'))):
        assert state.keys() == net.state_dict().keys()
        assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())

def test_a_card_of_names_that_are_not_utf8(tmp_path):
    info = replace(INFO, data='stra\udcdfe', run_id='na\udcefve')
    place = save_model(narrow(num_classes=2), info, tmp_path/'model')
    card = (place/'README.md').read_text('utf-8')
    assert 'superclass of stra\\udcdfe' in card and 'Run: `na\\udcefve`' in card and load_model(place).info == info

def test_damaged_weights(tmp_path):
    place = folder(tmp_path)
    good = (place/'model.safetensors').read_bytes()
    for bad in (good[:-1], good[:-1]+bytes([good[-1] ^ 1]), b''):
        (place/'model.safetensors').write_bytes(bad)
        assert 'damaged or changed' in refused(load_model, place)
        assert 'damaged or changed' in refused(type(narrow()).from_pretrained, place)
    (place/'model.safetensors').unlink()
    assert refused(load_model, place) == f'{place}/model.safetensors: file missing: expected the weights'
    assert refused(type(small_vit()).from_pretrained,
                   place) == f'{place}/config.json: a resnet50: expected HubResNet, not HubViT'

def test_no_network_for_the_hub(monkeypatch):
    import huggingface_hub.errors as errors, resvit_nb.model_folders as folders
    def gone(*args, **kwargs): raise errors.LocalEntryNotFoundError('no network')
    monkeypatch.setattr(folders, 'hf_hub_download', gone)
    assert refused(load_model,
                   'hf-hub:user/name').startswith('hf-hub:user/name: cannot be had from huggingface.co '
                                                  '(LocalEntryNotFoundError)')

def test_from_the_hub(tmp_path, monkeypatch):
    import resvit_nb.model_folders as folders
    place = folder(tmp_path)
    monkeypatch.setattr(folders, 'hf_hub_download', lambda name, file: str({'user/name': place}[name]/file))
    assert load_model('hf-hub:user/name').info == INFO

def test_a_model_folder_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    place = folder(tmp_path)
    before = {p.name: p.read_bytes() for p in place.iterdir()}
    def full(*args): raise OSError(28, 'No space left on device')
    net = narrow(num_classes=2)
    with monkeypatch.context() as m:
        m.setattr(type(net), '_save_pretrained', full)
        assert refused(save_model, net, INFO, place) == f'{place}: cannot be written (No space left on device)'
    assert {p.name: p.read_bytes() for p in place.iterdir()} == before
    assert [p.name for p in tmp_path.iterdir()] == ['model']
    (tmp_path/'mine').mkdir(); (tmp_path/'mine'/'letter.txt').write_text('dear', 'utf-8')
    assert refused(save_model, net, INFO,
                   tmp_path/'mine').endswith('there already, and no model folder: expected a new name')
    assert (tmp_path/'mine'/'letter.txt').read_text('utf-8') == 'dear'
    save_model(narrow(num_classes=2, width=16), INFO, place)
    assert load_model(place).conv1.out_channels == 16
    assert [p.name for p in sorted(tmp_path.iterdir())] == ['mine', 'model']

def test_a_new_classifier_forgets_the_classes(tmp_path):
    net = load_model(folder(tmp_path))
    net.reset_classifier(5)
    assert net.info is None
    net.save_pretrained(tmp_path/'new')
    assert 'superclasses' not in json.loads((tmp_path/'new'/'config.json').read_text('utf-8'))

def test_the_card(tmp_path):
    info = replace(INFO, scores=dict(accuracy=.25), run_id='r', data='photos')
    card = (save_model(narrow(num_classes=2), info, tmp_path/'model')/'README.md').read_text('utf-8')
    for part in ('library_name: resvit_nb', 'license: apache-2.0', '* `b, "c"`: `e`, `f`', '| accuracy | 0.2500 |',
                 '0.4, 0.5, 0.6', '0.1, 0.2, 0.3', 'https://github.com/resvit-nb/resvit_nb'): assert part in card

@pytest.mark.parametrize('make, layers', [(narrow, ['layer1', 'layer3.2', 'global_pool']),
                                          (small_vit, ['blocks.0', 'blocks.1.attn.softmax', 'norm'])])
def test_torchvision_takes_features_of_any_layer(make, layers):
    from torchvision.models.feature_extraction import create_feature_extractor
    net, x, kept = make().eval(), torch.randn(2, 3, 32, 32), {}
    for name in layers:
        net.get_submodule(name).register_forward_hook(lambda m, i, out, name=name: kept.update({name: out}))
    logits(net, x)
    expected = dict(kept)
    with torch.no_grad(): found = create_feature_extractor(net, layers)(x)
    assert list(found) == layers and all(torch.equal(found[name], expected[name]) for name in layers)
    assert 'expected a tensor of shape' in refused(net, x[0])    # the check is there where nobody traces

def test_timm_lowers_learning_rates_by_layer():
    from timm.models import group_parameters
    from timm.optim import create_optimizer_v2
    theirs, ours = (timm.create_model(f'{name}vit_tiny{of}', img_size=32) for name, of in
                    (('', '_patch16_224'), ('resvit_', '')))
    named = [group_parameters(net, net.group_matcher()) for net in (theirs, ours)]
    assert named[0] == named[1]
    for coarse, n in ((False, 18), (True, 6)):
        net = narrow()
        groups = group_parameters(net, net.group_matcher(coarse))
        assert sorted(groups) == list(range(n))
        assert sorted(sum(groups.values(), [])) == sorted(dict(net.named_parameters()))
        assert groups[0] == ['conv1.weight', 'bn1.weight', 'bn1.bias'] and groups[n-1] == ['fc.weight', 'fc.bias']
    rates = [g['lr_scale'] for g in create_optimizer_v2(net, 'adamw', lr=1e-3, layer_decay=.5).param_groups]
    assert min(rates) == .5**17 and max(rates) == 1

def test_novelty_is_written(tmp_path):
    place = folder(tmp_path)
    set_novelty(place, -.5, 'energy', 'superclass')
    assert load_model(place).info == replace(INFO, novelty=dict(score='energy', threshold=-.5, level='superclass'))
    for threshold in (float('inf'), '1', [], True):
        assert 'novelty: expected' in refused(set_novelty, place, threshold)
    assert "target 'both'" in refused(set_novelty, place, .5, level='both')
    for score in ('Maximum softmax', 'softmax', '', None, ['energy']):
        assert f'novelty score {score!r}: expected one of maximum softmax, maximum logit, energy, entropy' == (
            refused(set_novelty, place, .5, score))
    assert load_model(place).info.novelty['threshold'] == -.5
    for threshold in (np.float32(.25), .25):
        assert set_novelty(place, threshold).novelty['threshold'] == load_model(place).info.novelty['threshold'] == .25
    assert set_novelty(place, None) == load_model(place).info == INFO

def test_vision_learner_as_users_write_it(tmp_path, monkeypatch):
    import resvit_nb.models as models
    from fastai.vision.all import ImageDataLoaders, Resize, vision_learner
    from PIL import Image
    for i in range(12): Image.new('RGB', (40, 40), (20*i, 90*(i % 2), 9)).save(tmp_path/f'{"ab"[i % 2]}_{i}.png')
    monkeypatch.setattr(models, 'imagenet_file', lambda name, cache_dir=None: save_weights(new_model(name),
        tmp_path/'imagenet.safetensors'))
    dls = ImageDataLoaders.from_name_func(tmp_path, sorted(tmp_path.glob('*.png')), lambda p: Path(p).name[0], bs=4,
                                          item_tfms=Resize(32), num_workers=0, device='cpu')
    learn = vision_learner(dls, 'resvit_resnet50')    # pre-trained, as it is by default
    assert 'Normalize' in str(dls.after_batch)
    with learn.no_bar(), learn.no_logging(): learn.fine_tune(1)
    assert torch.isfinite(torch.tensor(learn.recorder.values[-1])).all()
    assert learn.predict(tmp_path/'a_0.png')[0] in 'ab'

# ---- weights that would be taken for something else
CHANGED = {
    'a head the wrong way round': (lambda s: s.update({'fc.weight': s['fc.weight'].T.contiguous()}),
                                   r"entry 'fc.weight': expected \[3, 256\], found \[256, 3\]"),
    'a head of one number': (lambda s: s.update({'fc.weight': torch.tensor(1.)}),
                             r"entry 'fc.weight': expected \[3, 256\], found \[\]"),
    'a head of five classes and a bias of four': (lambda s: s.update({'fc.weight': torch.rand(5, 256),
        'fc.bias': torch.rand(4)}), r"entry 'fc.weight': expected \[3, 256\], found \[5, 256\]"),
    'a variance below nothing': (lambda s: s['layer2.1.bn2.running_var'].sub_(9),
                                 "entry 'layer2.1.bn2.running_var': expected variances of at least 0, found -8"),
    'no numbers': (lambda s: s.update({'conv1.weight': s['conv1.weight'].to('meta')}),
                   "entry 'conv1.weight': expected a tensor, found one without numbers")}

@pytest.mark.parametrize('change, message', CHANGED.values(), ids=CHANGED)
def test_weights_that_are_no_weights(tmp_path, change, message):
    state = resnet50(3, width=8).state_dict()
    change(state)
    torch.save(state, tmp_path/'w.pth')
    with pytest.raises(InputError, match=message): create_model('resnet50', 3, weights=tmp_path/'w.pth', width=8)

def test_a_head_of_other_classes_is_left_at_its_beginning(tmp_path):
    torch.save(resnet50(5, width=8).state_dict(), tmp_path/'w.pth')
    assert create_model('resnet50', 3, weights=tmp_path/'w.pth', width=8).fc.weight.shape == (3, 256)

# ---- heads, information and files that no longer fit
def info_of(n, **kwargs):
    names = [f'c{i}' for i in range(n)]
    return ModelInfo(**dict(model='resnet50', target='subclass', superclasses=['s'], subclasses=names, parent=[0]*n,
                            resolution=32, image_size=32,
                            mean=[.5]*3, std=[.2]*3) | kwargs)

@pytest.mark.parametrize('change', [
    lambda net: setattr(net, 'fc', nn.Linear(256, 7)), lambda net: setattr(net, 'fc', nn.Identity()),
    lambda net: setattr(net, 'conv1', nn.Conv2d(1, 8, 7, 2, 3, bias=False)),
    lambda net: setattr(net, 'aux', nn.Linear(2, 2))])
def test_a_network_that_its_configuration_does_not_make_is_not_saved(tmp_path, change):
    net = narrow()
    change(net)
    assert refused(net.save_pretrained, tmp_path/'net').startswith('entry ')
    assert not (tmp_path/'net/model.safetensors').exists()

def test_another_head_or_size_takes_its_information_along(tmp_path):
    save_model(narrow(), info_of(3), tmp_path/'resnet')
    assert HubResNet.from_pretrained(tmp_path/'resnet').info == info_of(3)
    other = HubResNet.from_pretrained(tmp_path/'resnet', num_classes=5)
    assert other.num_classes == 5 and other.info is None
    info = info_of(3, model='vit_tiny')
    save_model(create_model('vit_tiny', 3, img_size=32, patch_size=16), info, tmp_path/'vit')
    larger = HubViT.from_pretrained(tmp_path/'vit', img_size=64)
    assert larger.info == replace(info, image_size=64)
    save_model(larger, larger.info, tmp_path/'larger')
    assert load_model(tmp_path/'larger').info.image_size == 64

@pytest.mark.parametrize('name', ['/no/such folder', 'a/b/c', Path('away/from/here'), ''])
def test_a_folder_that_is_not_there_is_said_in_one_line(name):
    assert 'no model folder' in refused(HubResNet.from_pretrained, name)

@pytest.mark.parametrize('weights', [True, 1, {'fc.weight': torch.zeros(3, 256)}, ['a.pth']])
def test_weights_that_are_no_file(weights):
    assert refused(create_model, 'resnet50', 3, weights,
                   width=8).startswith("weights: expected None, 'imagenet' or a .safetensors, .pth or .pt file")

@pytest.mark.parametrize('grid', [4, (4,), '44', (4, 0), (2., 8), np.array([4, 4])])
def test_grids_of_a_file_that_are_none(grid, tmp_path):
    save_weights(small_vit(), tmp_path/'vit.safetensors')
    assert refused(load_weights, small_vit(), tmp_path/'vit.safetensors',
                   grid).startswith('grid: expected rows and columns of patches')

@pytest.mark.parametrize('wrap', [nn.DataParallel, torch.compile])
def test_weights_are_loaded_into_the_network_inside(wrap, tmp_path):
    save_weights(net := narrow(), tmp_path/'net.safetensors')
    load_weights(wrap(other := narrow()), tmp_path/'net.safetensors')
    assert all(torch.equal(v, net.state_dict()[k]) for k, v in other.state_dict().items())

def test_timms_optimizers_decay_what_they_decay_of_its_own_vit():
    theirs = timm.create_model('vit_tiny_patch16_224', img_size=32, patch_size=4, embed_dim=48, depth=2, num_heads=3,
                               num_classes=3)
    def decayed(net):
        names = {id(p): k for k, p in net.named_parameters()}
        return {names[id(p)] for g in create_optimizer_v2(net, weight_decay=.1).param_groups if g['weight_decay']
                for p in g['params']}
    assert decayed(small_vit()) == decayed(theirs)
    assert decayed(narrow()) == {k for k, p in narrow().named_parameters() if p.ndim > 1}

def test_small_things_that_timm_and_numpy_users_ask():
    assert count_multiply_adds(narrow(), np.int32(32)) == count_multiply_adds(narrow(), 32)
    for net in (narrow(), small_vit()): assert getattr(net, net.get_classifier(name_only=True)) is net.get_classifier()

def test_names_of_any_script_go_through_a_model_folder(tmp_path):
    info = replace(INFO, superclasses=['نیم\u200cروز', '猫\u3000犬'][:len(INFO.superclasses)])
    assert load_model(save_model(narrow(num_classes=len(info.classes)), info, tmp_path/'a')).info.superclasses == (
        info.superclasses)

@pytest.mark.parametrize('name', ['a\x1b', '', '\u200d'])
def test_names_that_no_table_shows(tmp_path, name):
    info = replace(INFO, superclasses=[name, 'b'])
    assert 'superclasses: expected a list of different names' in refused(save_model, narrow(num_classes=2), info,
                                                                         tmp_path/'a')

def test_what_is_no_model_at_all(tmp_path):
    for name in (None, 3, ['a'], b'a'): assert refused(load_model, name).startswith('name: expected a model folder')
    for info in (None, {}, 'a'):
        assert refused(save_model, narrow(num_classes=2), info, tmp_path/'a').startswith('info: expected a ModelInfo')

@pytest.mark.parametrize('config', ['{}', '[1]', '{"model": "EOS 5D"}', '{"model_type": "vit"}', '{"for'])
def test_a_folder_with_somebodys_configuration_is_not_replaced(tmp_path, config):
    (tmp_path/'a').mkdir(); (tmp_path/'a/config.json').write_text(config, 'utf-8')
    (tmp_path/'a/1.jpg').write_bytes(b'x')
    assert 'no model folder: expected a new name' in refused(save_model, narrow(num_classes=2), INFO, tmp_path/'a')
    assert (tmp_path/'a/1.jpg').exists()
