"The commands as a user meets them: as processes, with exit status, output and files."
import json, os, re, subprocess, sys
from html.parser import HTMLParser
from pathlib import Path
import nbformat, pytest
from conftest import ROOT, run, run_forked
from resvit_nb.config import run_id
from resvit_nb.records import read_record
from resvit_nb.paper import paper_numbers
from resvit_nb.protocol import EXPERIMENTS, make_plan
from resvit_nb.execution import experiments
from resvit_nb.reproduce import own_place, resvit_reproduce

BAD = [
    ('resvit_reproduce', ('--profile', 'big'), "profile 'big': expected one of smoke, quick, paper"),
    ('resvit_reproduce', ('--profile', 'paper', '--data_dir', 'nowhere'),
     'data_dir nowhere: folder or archive missing'),
    ('resvit_reproduce', ('--only', 'cats'),
     "only 'cats': expected one of transfer, augmentation, dropout, vit, curves, hierarchy, claims, variance, runs, "
     "novel"),
    ('resvit_reproduce', ('--seeds', 'two'), "argument --seeds: invalid int value: 'two'"),
    ('resvit_train', ('--drop', '1'), 'drop 1.0: expected a rate of at least 0 and below 1'),
    ('resvit_train', ('--dropout', '0.5'), 'unrecognized arguments: --dropout 0.5'),
    ('resvit_data', ('--data', 'bird_dog_reptile', '--data_dir', 'nowhere'),
     'nowhere: folder missing: expected train_data.csv'),
]

@pytest.mark.parametrize('command, options, message', BAD, ids=[f'{c} {o[0]}' for c, o, _ in BAD])
def test_bad_input_is_one_line_and_writes_nothing(command, options, message, tmp_path, tmp_path_factory):
    where = {'resvit_data': ('--sheet', tmp_path/'s.png'), 'resvit_train': ('--results', tmp_path/'out'),
             'resvit_reproduce': ('--out', tmp_path/'out')}[command]
    done = run_forked(command, *options, *where, outputs=tmp_path_factory.mktemp('said'),
                      RESVIT_CACHE=str(tmp_path/'cache'))
    assert done.returncode == 1 and done.stdout == ''
    assert done.stderr.count('\n') == 1 and message in done.stderr
    assert list(tmp_path.iterdir()) == []

def pages_in(folder, monkeypatch, *options):
    "The pages that a reproduction runs here, by name; other tests make sites of them"
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr('resvit_nb.reproduce.build_site', print)
    resvit_reproduce.command([*map(str, options), '--out', str(folder/'out'), '--results', str(folder/'results')])
    return {p.stem: p.read_text('utf-8') for p in (folder/'out/notebooks').glob('*.ipynb')}

def test_without_records_and_images_the_page_says_so(tmp_path, monkeypatch, capsys):
    pages = pages_in(tmp_path, monkeypatch, '--profile', 'paper', '--only', 'dropout')
    assert '36 of 36 runs have no record' in capsys.readouterr().out and 'not run yet' in pages['03_dropout']
    assert not list((tmp_path/'results').glob('*'))

def test_outside_a_copy_of_the_repository(tmp_path):
    done = run('resvit_reproduce', cwd=tmp_path)
    assert done.returncode == 1 and 'not inside a copy of the repository' in done.stderr


class Links(HTMLParser):
    def __init__(self, text): self.ids, self.links = set(), []; super().__init__(); self.feed(text)
    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids |= {attrs.get('id')}
        self.links += [attrs[a] for a in ('href', 'src') if attrs.get(a)]

def test_reproduce_trains_every_run_once(smoke):
    folder, printed = smoke
    plans = [make_plan(e, 'smoke') for e in EXPERIMENTS]
    wanted = {run_id(c) for p in plans for c in [*p.before, *p.configs]}
    assert {p.stem for p in (folder/'results').glob('*.json')} == wanted
    stamps = {p: p.stat().st_mtime_ns for p in (folder/'results').iterdir()}
    again = run('resvit_reproduce', '--profile', 'smoke', '--only', 'dropout', '--out', folder/'again', '--results',
                folder/'results', RESVIT_CACHE=str(folder/'cache'))
    assert again.returncode == 0 and f'run {len(wanted)}/{len(wanted)} ' in printed and 'run 1/' not in again.stdout
    assert {p: p.stat().st_mtime_ns for p in (folder/'results').iterdir()} == stamps

def test_terminal_and_page_show_the_numbers_of_the_records(smoke):
    folder, printed = smoke
    page = (folder/'out/site/experiments/dropout.html').read_text('utf-8')
    for setting, configs in make_plan('dropout', 'smoke').settings.items():
        for config in configs:
            accuracy = read_record(folder/'results'/f'{run_id(config)}.json').test['accuracy']
            row = rf'{config.target.capitalize()} accuracy +{re.escape(setting)} +[\d.]* +{accuracy:.3f} '
            assert bool(re.search(row, printed)) == (setting in paper_numbers(3))    # others are in the page's fold
            assert f'{accuracy:.3f}' in page
    assert re.search(r'site: .*index.html\ndone in \d+ s\n$', printed)
    assert 'its numbers mean nothing' in page

def test_every_table_of_a_small_profile_says_that_it_is_none_of_the_reproduction(smoke):
    for page in (smoke[0]/'out/notebooks').glob('*.ipynb'):
        shown = [''.join(o.get('data', {}).get('text/markdown', ''))
                 for c in json.loads(page.read_text('utf-8'))['cells'] for o in c.get('outputs', [])]
        if page.name == '09_runs.ipynb': assert 'Profile smoke, not the reproduction.' in ' '.join(shown); continue
        # a first look has no time for it
        if page.name == '10_novel.ipynb': assert 'Fractals: **not run yet**' in ' '.join(shown); continue
        captions = [line for text in shown for line in text.splitlines() if line.startswith(': ')]
        assert len(captions) >= 3 and [c for c in captions if 'Profile smoke, not the reproduction.' not in c] == []

def test_a_first_look_says_so_and_has_no_page_of_the_reproduction(smoke):
    site = smoke[0]/'out/site'
    pages = {p.relative_to(site).as_posix() for p in site.rglob('*.html')}
    assert pages == {'index.html', 'usage.html', 'own_images.html', *(f'experiments/{name}.html'
        for name in experiments(ROOT))}
    home = (site/'index.html').read_text('utf-8')
    assert 'A first look, made on this machine' in home and re.search('Profile smoke: [0-9]+ runs with 1 seed', home)
    assert {p.name for p in (site/'results').iterdir()} == {p.name for p in (smoke[0]/'results').iterdir()}
    assert 'https://resvit-nb.github.io/resvit_nb/verdicts.html' in (
        Links((site/'experiments/transfer.html').read_text('utf-8')).links)

def broken_links(site):
    pages = {p: Links(p.read_text('utf-8')) for p in site.rglob('*.html')}
    broken = []
    for page, parsed in pages.items():
        for link in parsed.links:
            path, _, anchor = link.partition('#')
            if re.match(r'[a-z]+:|//', link): continue
            to = page if not path else site/path.lstrip('/') if path.startswith('/') else (page.parent/path).resolve()
            if to.is_dir(): to = to/'index.html'
            if not to.exists() or (anchor and to in pages and anchor not in pages[to].ids):
                broken.append(f'{page.name}: {link}')
    return broken

def test_source_links_lead_to_the_module_of_their_page(published):
    "A page may use what another one defines, and two modules may have a name in common"
    links = {p.stem: re.findall(r'href="[^"]*/resvit_nb/(\w+)\.py#L(\w+)"', p.read_text('utf-8'))
             for p in published.glob('*.html')}
    assert sum(map(len, links.values())) > 300
    assert [(page, found) for page, fs in links.items() for found in fs if found[0] != page
            or not found[1].isdigit()] == []

def test_site_has_no_broken_link_and_no_path_of_this_machine(smoke, published):
    site = smoke[0]/'out/site'
    assert {'index.html', 'images.html', 'resnet.html'} <= {p.name for p in published.glob('*.html')}
    assert broken_links(site) == [] and broken_links(published) == []
    pages = [*site.rglob('*.html')]
    assert [p.name for p in [*pages, *published.rglob('*.html')] if str(ROOT) in p.read_text('utf-8')] == []
    typed = {p.name: p.read_text('utf-8').count(str(smoke[0])) for p in pages if str(smoke[0]) in p.read_text('utf-8')}
    # --results, as typed
    assert typed == {f'{name}.html': 1 for name in (*EXPERIMENTS, 'hierarchy', 'claims', 'variance', 'runs', 'novel')}

def test_a_table_row_leads_to_its_run_and_that_to_its_record(smoke):
    site = smoke[0]/'out/site'
    runs = Links((site/'experiments/runs.html').read_text('utf-8'))
    links = [link for link in Links((site/'experiments/dropout.html').read_text('utf-8')).links if 'runs.html#' in link]
    assert {link.split('#')[1] for link in links} == {run_id(c) for p in [make_plan('dropout', 'smoke')]
                                                      for c in [*p.before, *p.configs]}
    assert {link.split('#')[1] for link in links} <= runs.ids
    records = [link for link in runs.links if link.endswith('.json') and 'results/' in link]
    assert {Path(link).stem for link in records} == {p.stem for p in (smoke[0]/'results').glob('*.json')}
    for link in records: assert json.loads((site/'experiments'/link).read_text('utf-8'))['run_id'] == Path(link).stem


# ---- neither a command nor a page depends on the caller's environment
def test_a_command_trains_whatever_the_shell_says(tmp_path):
    odd = dict(PYTHONWARNINGS='error', TMPDIR=str(tmp_path/'nowhere'), TZ='Nowhere/City', OMP_NUM_THREADS='many')
    small = '--resolution 16 --image_size 16 --width 4 --n_per_subclass 10 --epochs 1'.split()
    done = run('resvit_train', *small, '--results', tmp_path/'results', RESVIT_CACHE=str(tmp_path/'cache'), **odd)
    assert done.returncode == 0 and 'Traceback' not in done.stderr and 'Warning' not in done.stderr, done.stderr
    assert read_record(next((tmp_path/'results').glob('*.json'))).epochs

def page_in(folder, **env):
    "What a small page shows, run by a process with these variables"
    cells = [nbformat.v4.new_code_cell('n = 1', metadata=dict(tags=['parameters'])),
             nbformat.v4.new_code_cell('#| fig-alt: "A line"\nimport matplotlib.pyplot as plt\nplt.plot([1, 3, 2]); '
                                       'plt.title("$x^2$");'), nbformat.v4.new_code_cell('print("Gänge", n)')]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder/'page.ipynb')
    code = (
        f"import sys; from pathlib import Path; from resvit_nb.execution import execute; "
        f"execute(Path({str(folder/'page.ipynb')!r}), dict(n=7), Path({str(folder/'done.ipynb')!r}))")
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], cwd=ROOT,
                          env={**os.environ, 'PYTHONPATH': str(ROOT), **env}, capture_output=True, encoding='utf-8')
    assert done.returncode == 0, done.stderr
    return [o.get('text') or o['data'].get('image/png') for c in nbformat.read(folder/'done.ipynb', 4).cells
            for o in c.outputs]

@pytest.fixture(scope='module')
def plain_page(tmp_path_factory): return page_in(tmp_path_factory.mktemp('plain'))

def settings(folder):
    "Settings that change pictures, pages or both, as people have them"
    thick = 'import matplotlib; matplotlib.rcParams["lines.linewidth"] = 30; print("good morning")'
    for name, text in {'start.py': thick, 'matplotlibrc': 'lines.linewidth: 30\nfigure.dpi: 20\ntext.usetex: True\n',
                       'ipython/profile_default/startup/00-mine.py': thick+'; matplotlib.use("agg")',
                       'config/profile_default/ipython_kernel_config.py': 'c.InlineBackend.figure_formats = '
                                                                          '{"svg"}\nc.InteractiveShellApp.exec_lines = '
                                                                          '["n = 5", "print(n)"]\n'}.items():
        (folder/name).parent.mkdir(parents=True, exist_ok=True)
        (folder/name).write_text(text, 'utf-8')
    return {'start-up files': dict(PYTHONSTARTUP=str(folder/'start.py'), IPYTHONDIR=str(folder/'ipython'),
                                   MATPLOTLIBRC=str(folder/'matplotlibrc'), MPLBACKEND='svg'),
            'settings': dict(IPYTHONDIR=str(folder/'config'), MPLCONFIGDIR=str(folder)),
            'no place to write to': dict(IPYTHONDIR='/proc/nowhere', HOME='/proc', XDG_CACHE_HOME=str(folder/'cache'))}

@pytest.mark.parametrize('which', ('start-up files', 'settings', 'no place to write to'))
def test_a_page_is_the_same_everywhere(which, plain_page, tmp_path):
    assert len(plain_page) == 2 and plain_page[1] == 'Gänge 7\n'
    assert page_in(tmp_path, **settings(tmp_path)[which]) == plain_page

def test_the_page_on_novel_classes_of_ones_own_images(tmp_path, monkeypatch):
    from PIL import Image
    for name in ('sea/crab', 'sea/eel', 'land/ox', 'land/yak'):
        (folder := tmp_path/'zoo.2024'/name).mkdir(parents=True)
        for i in range(10): Image.new('RGB', (9, 9), (20*i, 5*len(name), 90)).save(folder/f'{i}.png')
    pages = pages_in(tmp_path, monkeypatch, '--profile', 'smoke', '--dataset', 'image_tree', '--data_dir',
                     tmp_path/'zoo.2024', '--only', 'novel')
    assert 'Not tried on images of your own' in pages['10_novel']

def test_trees_with_other_names_have_other_places(tmp_path):
    places = [own_place('quick', 'image_tree', tmp_path/name) for name in ('photos', 'photos.2023', 'photos.tar')]
    assert len(set(places)) == 3 and own_place('quick', None, None) == 'quick'

@pytest.mark.parametrize('name, text', [('renamed', '{"schema": 1, "run_id": "x", "measured": {}}'), ('tasks', '["a"]'),
                                        ('fractals-subclass-vit_tiny-0123456789', '{"schema": 1, "measured": {}}'),
                                        ('audit', '{"schema": 1, "comparisons": []}'), ('torn', '{"schema"')])
def test_a_benchmark_replaces_nothing_but_a_benchmark(name, text, tmp_path):
    from resvit_nb.benchmark import resvit_benchmark
    out = tmp_path/f'{name}.json'
    out.write_text(text, 'utf-8')
    with pytest.raises(SystemExit) as e: resvit_benchmark.command(['--parts', 'loading', '--out', str(out)])
    assert str(e.value.code).startswith('resvit_benchmark: error: ') and str(out) in e.value.code
    assert out.read_text('utf-8') == text

@pytest.mark.parametrize('options, message', [(('--limit', '-2'), 'limit -2: expected 0 or more'),
                                              (('--steps', ''), "steps '': expected a value"),
    (('--cifar_dir', 'gone.tar'), 'cifar_dir gone.tar: folder or archive missing'), (('--steps', 'az'), 'expected')])
def test_impossible_campaigns(options, message, tmp_path, capsys):
    from resvit_nb.protocol import resvit_campaign
    with pytest.raises(SystemExit) as e: resvit_campaign.command([*options, '--results', str(tmp_path)])
    assert message in str(e.value) and list(tmp_path.iterdir()) == []
