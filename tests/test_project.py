"What must hold of the repository as a whole; the notebooks test what they define."
import ast, configparser, hashlib, io, json, re, shutil, subprocess, sys, tokenize
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
import nbformat, numpy as np, pytest
from packaging.specifiers import SpecifierSet
from pyflakes.checker import Checker
from pyflakes.messages import UndefinedName, UnusedImport, UnusedVariable
from resvit_nb.images import TARGETS
from resvit_nb.config import run_id
from resvit_nb.protocol import CAMPAIGN, EXPERIMENTS, check_protocol, make_plan, step_runs
from resvit_nb.records import read_record, record_path, stored
from resvit_nb.bodies import gather
from resvit_nb.figures import FOREST, forest_svg
from resvit_nb.statistics import FEWEST_TO_SHARE, PRIOR_DF, SAME_WITHIN, SMALLEST
from resvit_nb.verdicts import FEWEST_CURVES, FEWEST_RUNS, MUCH_LONGER, UNTYPICAL
from resvit_nb.execution import experiments, find_parameters
from resvit_nb.readme_page import readme

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted(p for p in (ROOT/'nbs').rglob('*.ipynb') if '.ipynb_checkpoints' not in p.parts)
TEXT = {'.py', '.md', '.ipynb', '.ini', '.yml', '.yaml', '.json', '.txt', '.css', ''}


@pytest.fixture
def copy(tmp_path):
    "A copy of what nbdev's commands read and write"
    for name in ('nbs', 'resvit_nb'):
        shutil.copytree(ROOT/name, tmp_path/name, symlinks=True, ignore=shutil.ignore_patterns('__pycache__',
            '.ipynb_checkpoints'))
    for name in ('settings.ini', '_quarto.yml'): shutil.copy(ROOT/name, tmp_path)
    return tmp_path

def nbdev(command, folder):
    subprocess.run([Path(sys.executable).with_name(command)], cwd=folder, check=True,
                   env={'PATH': '/usr/bin:/bin', 'HOME': str(folder)})

def test_export_leaves_no_difference(copy):
    nbdev('nbdev_export', copy)
    made, kept = sorted((copy/'resvit_nb').glob('*.py')), sorted((ROOT/'resvit_nb').glob('*.py'))
    assert [p.name for p in made] == [p.name for p in kept]
    assert [p.name for p, q in zip(made, kept) if p.read_text('utf-8') != q.read_text('utf-8')] == []

def test_modules_and_tests_have_lines_of_120_characters_at_most():
    listed = re.compile(r"__all__|           '")    # nbdev's list of names
    files = (p for p in ROOT.glob('*/*.py') if p.parent.name in ('resvit_nb', 'tests') and p.name != '_modidx.py')
    assert [(p.name, i) for p in files for i, l in enumerate(p.read_text(encoding='utf-8').splitlines(), 1)
            if len(l) > 120 and not listed.match(l)] == []

def loose(source):
    "Lines that are not in fastcore's dialect: spaces around comparisons or in annotations, docstrings with a full stop"
    tree, signs = ast.parse(source), ('==', '!=', '<', '>', '<=', '>=')
    for t in tokenize.generate_tokens(io.StringIO(source).readline):
        if t.type == tokenize.OP and t.string in signs and t.line[t.start[1]-1] == t.line[t.end[1]:][:1] == ' ':
            yield t.start[0]
    for node in ast.walk(tree):
        apart = isinstance(node, ast.arg) and node.annotation and node.annotation.col_offset - node.col_offset
        if apart and apart != len(node.arg) + 1: yield node.lineno
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and (ast.get_docstring(node) or '').endswith('.'):
            yield node.lineno

def test_modules_are_written_in_one_dialect():
    assert [*loose('def f(x: int):\n    "Half."\n    return x == 2\ndef g(x:int):\n    "Half"\n    return x==2\n')] == (
        [3, 1, 1])
    assert [(p.name, i) for p in sorted((ROOT/'resvit_nb').glob('*.py')) for i in loose(p.read_text('utf-8'))] == []

def left_over(text):
    "Lines with imports and variables that nothing uses, and names that nothing defines"
    found = Checker(ast.parse(text), withDoctest=False).messages
    of_lines = text.split('\n')
    return [(m.lineno, str(m)) for m in found if isinstance(m, (UnusedImport, UnusedVariable, UndefinedName))
            and not re.match(r'import fastai\..+ # ', of_lines[m.lineno-1])]    # these change fastai's classes

def test_nothing_is_imported_that_is_not_used():
    found = left_over('import os\nimport re, json\ndef f():\n    a = json\n    return b\n')
    assert sorted(line for line, _ in found) == [1, 2, 4, 5]
    assert [(p.name, m) for folder in ('resvit_nb', 'tests') for p in sorted((ROOT/folder).glob('[!_]*.py'))
            for m in left_over(p.read_text('utf-8'))] == []

def test_modules_import_from_lower_rooms_only():
    order = {re.search(r'#\| default_exp (\w+)', p.read_text(encoding='utf-8'))[1]: p.stem for p in NOTEBOOKS
             if 'default_exp' in p.read_text(encoding='utf-8')}
    imports = {m: [n for n in ast.walk(ast.parse((ROOT/f'resvit_nb/{m}.py').read_text(encoding='utf-8')))
                   if isinstance(n, ast.ImportFrom)] for m in order}
    # as nbdev leaves those it does not understand
    assert [(m, n.module) for m in order for n in imports[m] if (n.module or '').startswith('resvit_nb')] == []
    upward = [(m, low) for m in order for n in imports[m] if n.level for low in ([n.module] if n.module
        else [a.name for a in n.names]) if order[low] >= order[m]]
    assert upward == []

def test_a_name_has_one_meaning():
    "No name is defined in two modules, but for what ResNet-50 and ViT both have"
    defined = {}
    for path in (ROOT/'resvit_nb').glob('[a-z]*.py'):
        for node in ast.parse(path.read_text(encoding='utf-8')).body:
            if isinstance(node, ast.FunctionDef) and node.decorator_list: continue    # often a method added to a class
            named = [getattr(node, 'name', '')] + [n.id for t in getattr(node, 'targets', ()) for n in ast.walk(t)
                                                   if isinstance(n, ast.Name)]
            for name in named:
                if name and not name.startswith('_'): defined.setdefault(name, set()).add(path.stem)
    assert len(defined) > 500
    assert {n: ms for n, ms in defined.items() if len(ms) > 1} == {
        'init_weights': {'resnet', 'vit'}, 'parameter_groups': {'models', 'resnet', 'vit'}}

def test_every_module_comes_from_a_notebook():
    exported = {re.search(r'#\| default_exp (\w+)', p.read_text('utf-8'))[1] for p in NOTEBOOKS
                if 'default_exp' in p.read_text('utf-8')}
    assert exported == {p.stem for p in (ROOT/'resvit_nb').glob('[!_]*.py')}

def test_notebooks_are_clean_and_keep_their_tags(copy):
    nbdev('nbdev_clean', copy)
    assert [p.name for p in NOTEBOOKS if (copy/p.relative_to(ROOT)).read_text('utf-8') != p.read_text('utf-8')] == []
    for name, path in experiments(copy).items():
        assert set(find_parameters(nbformat.read(path, 4), name)) == {'profile', 'dataset', 'weights', 'resolution',
            'seeds', 'data_dir', 'pretrain_dir', 'results', 'n_jobs'}

COMMENTED = re.compile(r'    \w+(:[^#]*)?,?\s*# ')    # fields and parameters, each with its comment: there may be many
WORDS = re.compile(r'def (text_checks|explanations_table)\(')    # tables of words

@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_form(path):
    nb = json.loads(path.read_text('utf-8'))
    code = [c for c in nb['cells'] if c['cell_type'] == 'code']
    assert [c['id'] for c in nb['cells']
            if isinstance(c['source'], str)] == [], 'Quarto drops the newlines of a source that is one string'
    assert [c['id'] for c in code if len([l for l in c['source'] if not COMMENTED.match(l)]) > 25
            and not WORDS.search(''.join(c['source']))] == [], 'library cells have 25 lines at most'
    assert [(c['id'], l[:60]) for c in code for l in c['source'] if len(l.rstrip('\n')) > 120
            and not l.startswith('#|')] == [], 'lines have 120 characters at most'
    assert [l for l in nb['cells'][0]['source'] if l.strip() and not l.startswith(('# ', '> ',
        '- '))] == [], 'a page shows no more of its first cell than title, description and settings'
    fenced = [l for c in nb['cells'] if c['cell_type'] == 'markdown' for block in re.findall(r'^```\w*\n(.*?)^```',
        ''.join(c['source']), re.S | re.M) for l in block.splitlines()]
    assert [l for l in fenced if len(l) > 85] == [], 'code on a page has 85 columns at most'
    captions = [l for c in code for l in c['source'] if re.match(r'#\| fig-(cap|alt):', l)]
    assert [l for l in captions if re.search(r'\*\w|\w\*|`', l)] == [], 'a caption shows Markdown as it is'
    assert [c['id'] for c in code for o in c['outputs'] if o['output_type'] == 'error'] == []
    pictures = [c for c in code if any('image/png' in o.get('data', {}) for o in c['outputs'])]
    assert [c['id'] for c in pictures
            if '#| fig-alt:' not in ''.join(c['source'])] == [], 'a picture needs a text for those who cannot see it'

def test_readme_is_made_from_the_home_page():
    assert (ROOT/'README.md').read_text('utf-8') == readme(nbformat.read(ROOT/'nbs/index.ipynb',
        4)), 'run `make readme`'

def test_readme_names_the_test_command_that_ci_runs():
    assert 'make test' in (ROOT/'README.md').read_text('utf-8')
    assert re.search(r'^make test$', (ROOT/'.ci/run').read_text('utf-8'), re.M)

def test_no_path_of_a_machine_in_the_repository():
    files = subprocess.run(['git', 'ls-files'], cwd=ROOT, capture_output=True, encoding='utf-8').stdout.split()
    files = [ROOT/f for f in files if Path(f).suffix in TEXT] or NOTEBOOKS
    found = [f'{p.name}: {m}' for p in files if p.is_file() and not p.is_symlink()
             for m in re.findall(r'/(?:work|root|home|Users|site-packages)/[\w.-]+', p.read_text('utf-8'))]
    assert found == []

def test_site_settings_stand_in_one_place():
    assert (ROOT/'nbs/_quarto.yml').is_symlink() and (ROOT/'nbs/_quarto.yml').resolve() == ROOT/'_quarto.yml'

def test_pins_are_in_settings_and_constraints_satisfy_them():
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name
    settings = configparser.ConfigParser(delimiters=['='])
    settings.read(ROOT/'settings.ini')
    pinned = dict(line.split('==') for line in (ROOT/'constraints.txt').read_text('utf-8').splitlines() if '==' in line)
    pinned = {canonicalize_name(k): v for k, v in pinned.items()}
    wanted = [Requirement(r) for r in settings['DEFAULT']['requirements'].split()]
    assert {'fastcore', 'execnb', 'ghapi', 'plum-dispatch', 'fastprogress'} <= {r.name for r in wanted}
    assert [str(r) for r in wanted if pinned[canonicalize_name(r.name)] not in r.specifier] == []

@pytest.mark.parametrize('path', sorted((ROOT/'results').glob('*-*.json')), ids=lambda p: p.stem)
def test_published_record(path):
    record = check_protocol(read_record(path))
    assert len(record.epochs) == record.config.epochs and len(record.images['index']) == record.data['test']

def test_no_array_file_without_a_record():
    assert [p.name for p in (ROOT/'results').glob('*.npz') if not p.with_suffix('.json').exists()] == []

def test_the_figure_of_the_readme_is_the_one_that_the_records_give():
    bodies = gather(list(EXPERIMENTS), results=ROOT/'results')
    assert (ROOT/'results'/FOREST).read_bytes() == forest_svg(bodies), 'make it again with `make readme`'

# as the frozen commit gives them
FROZEN_RUNS = dict(a=(108, 'eac7096474'), b=(12, 'bec0ec0456'), c=(54, '59324618a0'), d=(60, '720d8b566c'),
                   e=(64, '57ea6146d6'), f=(6, 'f3b8a7b04d'))

def test_the_method_is_that_of_the_frozen_protocol():
    assert (SMALLEST, SAME_WITHIN, PRIOR_DF, FEWEST_TO_SHARE) == (.05, .10, 4, 3)
    assert (FEWEST_RUNS, FEWEST_CURVES, UNTYPICAL, MUCH_LONGER) == (2, 3, 1/6, 1.5)
    assert {n: (len(step_runs(n)), hashlib.sha256(' '.join(map(run_id, step_runs(n))).encode()).hexdigest()[:10])
            for n in CAMPAIGN} == FROZEN_RUNS

# in the order of `SPREADS` on the statistics page: twelve ResNets, one of another recipe, two ViTs
SPREAD_SETTINGS = [*(('dropout', rate) for rate in ('0.2', '0.5', '0.8')), ('augmentation', 'with'),
                   ('augmentation', 'swapped'), ('vit', 'ResNet50'),
                   ('transfer', 'pre-trained, frozen'), *(('dropout', f'{rate}, from scratch')
                                                          for rate in ('0.2', '0.5', '0.8')),
                                                          ('transfer', 'self-defined'),
                   ('vit', 'ResNet50, from scratch'), ('vit', 'ResNet50, from scratch, one-cycle'), ('vit', 'ViT'),
                   ('vit', 'ViT, one-cycle')]

@pytest.mark.parametrize('target', TARGETS)
def test_the_spreads_of_the_simulations_are_those_of_stage_1(target):
    cells = [c.source for c in nbformat.read(ROOT/'nbs/52_statistics.ipynb', 4).cells]
    typed = ast.literal_eval(re.search(rf'{target}=(\[.*?\])', next(s for s in cells if s.startswith('SPREADS')))[1])
    plans = {e: make_plan(e, 'paper', stage=1) for e in ('transfer', 'augmentation', 'dropout', 'vit')}
    runs = [[c for c in plans[e].settings[name] if c.target == target and stored(c, ROOT/'results')]
            for e, name in SPREAD_SETTINGS]
    accuracy = [[read_record(record_path(c, ROOT/'results')).test['accuracy'] for c in configs] for configs in runs]
    assert typed == pytest.approx([np.std(2*np.arcsin(np.sqrt(a)), ddof=1) for a in accuracy], abs=.0006)

def test_every_version_of_the_constraints_runs_on_the_oldest_python():
    settings = configparser.ConfigParser(delimiters=['='])
    settings.read(ROOT/'settings.ini')
    oldest = settings['DEFAULT']['min_python'] + '.0'
    pinned = [line.split('==')[0] for line in (ROOT/'constraints.txt').read_text('utf-8').splitlines() if '==' in line]
    there = {name: needed for name in pinned if (needed := requires_python(name))}
    assert len(there) > 100 and {n: needed for n, needed in there.items() if oldest not in SpecifierSet(needed)} == {}

def requires_python(name):
    try: return metadata(name)['Requires-Python']
    except PackageNotFoundError: return None    # of another system
