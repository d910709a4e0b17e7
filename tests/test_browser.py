"""Every page of the site in a browser: wide and narrow, light and dark.

Needs Chromium on the PATH. `RESVIT_TEST_SITE` names the folder of a finished site; without it the published one,
made from the records, and a first look are looked at."""
import functools, os, re, shutil, threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit
import pytest

ROOT = Path(__file__).parent.parent
CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
ARGUMENTS = ('--no-sandbox', '--disable-gpu', '--disable-background-networking')
WIDE, NARROW = dict(width=1280, height=900), dict(width=390, height=844)

if not CHROMIUM:
    pytest.skip('no Chromium on the PATH (apt-get install chromium): the pages are not looked at',
                allow_module_level=True)
playwright = pytest.importorskip('playwright.sync_api',
                                 reason="playwright is not installed (pip install '.[dev]'): the pages are not looked "
                                        "at")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args): pass

@pytest.fixture(scope='session', params=['given'] if os.environ.get('RESVIT_TEST_SITE')
                else ['first look', 'published'])
def site(request):
    if request.param == 'given': return Path(os.environ['RESVIT_TEST_SITE']).resolve()
    if request.param == 'published': return request.getfixturevalue('published')
    return request.getfixturevalue('smoke')[0]/'out/site'

@pytest.fixture(scope='session')
def address(site):
    "Where the site is served"
    server = ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Quiet, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}/'
    server.shutdown()
    server.server_close()

@pytest.fixture(scope='session')
def browser():
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()

# What a page says of itself
LOOK = """() => {
  const all = (what, in_ = document) => [...in_.querySelectorAll(what)], main = document.querySelector('main');
  return {
    ids: all('[id]').map(e => e.id),
    links: all('a[href]').map(a => a.getAttribute('href')),
    images: all('img').filter(i => !i.complete || !i.naturalWidth).map(i => i.getAttribute('src').slice(0, 80)),
    silent: all('img').filter(i => !(i.alt || '').trim()).map(i => i.src.slice(0, 80))
      .concat(all('svg[role=img]').filter(s => !s.getAttribute('aria-label')).map(s => s.outerHTML.slice(0, 80))),
    unnamed: all('a[href], button, input').filter(e => !(e.textContent.trim() || e.getAttribute('aria-label') ||
                                                         e.title || e.querySelector('img[alt]')))
      .map(e => e.outerHTML.slice(0, 80)),
    headings: all('h1, h2, h3, h4, h5, h6', main).filter(h => h.offsetParent).map(h => [+h.tagName[1], h.textContent]),
    icon: all('link[rel~=icon]').map(l => l.getAttribute('href')),
  };
}"""
# What does not fit the window: the page itself, or something in it that cannot be scrolled
FIT = """() => {
  const width = document.documentElement.clientWidth, out = [];
  if (document.documentElement.scrollWidth > width) out.push(`page ${document.documentElement.scrollWidth}`);
  const scrolls = e => ['auto', 'scroll'].includes(getComputedStyle(e).overflowX) &&
                       e.getBoundingClientRect().right <= width + 1;
  for (const e of document.querySelectorAll('main table, main pre, main math, main img, main svg, main p, main li')) {
    if (e.getBoundingClientRect().right <= width + 1) continue;
    let up = e;
    while (up && !scrolls(up)) up = up.parentElement;
    if (!up) out.push(`${e.tagName} ${Math.round(e.getBoundingClientRect().right)}: ${e.textContent.slice(0, 40)}`);
  }
  return out;
}"""
# Text whose contrast with what is behind it is below 3
PALE = """() => {
  const numbers = c => (c.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const light = c => numbers(c).slice(0, 3).map(v => v/255).map(v => v <= .04045 ? v/12.92 : ((v + .055)/1.055)**2.4)
    .reduce((sum, v, i) => sum + v*[.2126, .7152, .0722][i], 0);
  const behind = e => {
    for (; e; e = e.parentElement) {
      const colour = getComputedStyle(e).backgroundColor, alpha = numbers(colour)[3];
      if (alpha === undefined || alpha > .5) return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  const seen = new Set();
  for (const e of document.querySelectorAll('main *, nav *')) {
    if (!e.offsetParent || ![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue;
    const pair = [getComputedStyle(e).color, behind(e)], [a, b] = pair.map(light);
    if ((Math.max(a, b) + .05)/(Math.min(a, b) + .05) < 3)
      seen.add(`${pair.join(' on ')}: ${e.tagName}.${e.className}`);
  }
  return [...seen].slice(0, 8);
}"""

@pytest.fixture(scope='session')
def seen(browser, site, address):
    "What every page says of itself, and what went wrong while it was looked at, by its path"
    context = browser.new_context(viewport=WIDE, color_scheme='light')
    page, found, noise = context.new_page(), {}, []
    page.on('console', lambda m: noise.append(f'console: {m.text}') if m.type == 'error' else None)
    page.on('pageerror', lambda e: noise.append(f'error: {e}'))
    page.on('requestfailed', lambda r: noise.append(f'failed: {r.url[:120]}'))
    page.on('request', lambda r: noise.append(f'foreign: {r.url[:120]}') if not r.url.startswith((address, 'data:'))
            else None)
    for path in sorted(p.relative_to(site).as_posix() for p in site.rglob('*.html')):
        noise.clear()
        page.emulate_media(color_scheme='light')
        page.set_viewport_size(WIDE)
        page.goto(address+path)
        look = page.evaluate(LOOK)
        look['wide'], look['pale'] = page.evaluate(FIT), page.evaluate(PALE)
        page.emulate_media(color_scheme='dark')
        page.wait_for_function("document.documentElement.classList.contains('quarto-dark') || "
                               "document.body.classList.contains('quarto-dark')")
        page.evaluate('document.getAnimations().forEach(a => a.finish())')  # colours fade from light to dark
        look['pale dark'] = page.evaluate(PALE)
        page.set_viewport_size(NARROW)
        look['narrow'] = page.evaluate(FIT)
        found[path] = look | dict(noise=list(noise))
    context.close()
    return found

def wrong(seen, *names):
    return {path: {n: look[n] for n in names if look[n]} for path, look in seen.items() if any(look[n] for n in names)}

def test_no_error_and_no_request_to_another_host(seen):
    assert len(seen) > (30 if 'resnet.html' in seen else 12) and 'index.html' in seen
    assert wrong(seen, 'noise') == {}

def test_nothing_is_wider_than_the_window(seen): assert wrong(seen, 'wide', 'narrow') == {}

def test_text_stands_out_from_what_is_behind_it(seen): assert wrong(seen, 'pale', 'pale dark') == {}

def test_pictures_are_there_and_have_a_text(seen): assert wrong(seen, 'images', 'silent', 'unnamed') == {}

def test_headings_are_in_order(seen):
    def jumps(levels):
        return [f'{text!r} is h{b} below h{a}' for (a, _), (b, text) in zip(levels, levels[1:]) if b > a+1]
    assert {p: s for p, s in ((p, jumps(look['headings'])) for p, look in seen.items()) if s} == {}
    assert {p: n for p, n in ((p, [l for l, _ in look['headings']].count(1)) for p, look in seen.items())
            if n != 1} == {}

def test_links_and_anchors_lead_somewhere(seen, site, address):
    broken = []
    for path, look in seen.items():
        assert look['icon'], path
        for link in {*look['links'], *look['icon']}:
            to, anchor = urldefrag(urljoin(address+path, link))
            if not to.startswith(address): broken += outside(path, to); continue
            to = unquote(urlsplit(to).path).lstrip('/') or 'index.html'
            if not (site/to).is_file() or (anchor and to in seen and unquote(anchor) not in seen[to]['ids']):
                broken.append(f'{path}: {link}')
    assert broken == []

def outside(path, to):
    "Links to files of the published repository that are not in this one"
    file = (
        re.match(r'https://(?:github\.com|colab\.research\.google\.com/github)/resvit-nb/resvit_nb/blob/main/(.*)', to))
    return [f'{path}: {to}'] if file and not (ROOT/unquote(file[1])).is_file() or to.startswith('file:') else []

@pytest.fixture
def page(browser, address):
    context = browser.new_context(viewport=WIDE, base_url=address)
    yield context.new_page()
    context.close()

def smalldocs_searches(page, site):
    word, found = ('bottleneck', 'resnet.html') if (site/'resnet.html').exists() else ('dropout',
        'experiments/dropout.html')
    if 'smalldocs' not in (page.get_attribute('meta[name=generator]', 'content') or ''):
        pytest.skip('Quarto has its own search, and needs a server')
    page.fill('.smalldocs-search input', word)
    page.wait_for_selector(f'.smalldocs-search a[href*="{found}"] >> text=/{word}/i')

def test_search_finds_a_word(page, site):
    page.goto('index.html')
    smalldocs_searches(page, site)

def test_the_table_of_runs_is_searched_sorted_and_led_to(page, seen):
    page.goto('experiments/runs.html')
    lines = page.locator('.rv-runs tbody:visible')
    total = lines.count()
    page.fill('.rv-runs input', 'subclass resnet')
    assert 0 < lines.count() < total and all('subclass' in t for t in lines.all_inner_texts())
    assert page.inner_text('.rv-runs output') == f'{lines.count()} of {total} runs'
    for order in (sorted, lambda values: sorted(values, reverse=True)):
        page.click('.rv-runs th button >> text=accuracy')
        cells = page.locator('.rv-runs tbody:visible > tr:first-child > td:nth-child(8)')
        values = [float(v) for v in cells.all_inner_texts()]
        assert values == order(values) and len(set(values)) > 1
    run = next(link for link in seen['experiments/dropout.html']['links']
               if link.startswith(('runs.html#', './runs.html#')))
    page.goto('experiments/dropout.html')
    page.locator(f'a[href="{run}"]:visible').first.click()
    more = page.locator(f'[id="{run.split("#")[1]}"] .rv-more')
    more.wait_for(state='visible')
    assert 'resvit_train' in more.inner_text() and page.locator('.rv-more:visible').count() == 1

def test_runs_are_folded_before_their_script_has_come_and_open_without_javascript(page, browser, address, site):
    html = (site/'experiments/runs.html').read_text(encoding='utf-8')
    head, rest = html.split('class="rv-runs"')
    cut = f'{head}class="rv-runs"{rest[:rest.index("<script")]}</div></main></body></html>'
    page.route('**/experiments/runs.html', lambda route: route.fulfill(body=cut, content_type='text/html'))
    page.goto('experiments/runs.html')
    assert page.locator('.rv-more').count() > 1 and page.locator('.rv-more:visible').count() == 0
    with browser.new_context(viewport=WIDE, base_url=address, java_script_enabled=False) as context:
        page = context.new_page()
        page.goto('experiments/runs.html')
        assert page.locator('.rv-more').count() == page.locator('.rv-more:visible').count() > 1

def test_offline_from_a_disk(page, site):
    "A folder on a disk, without a server: a page, what it loads, and the search"
    failed = []
    page.on('requestfailed', lambda r: failed.append(r.url))
    page.goto((site/'experiments/claims.html').as_uri())
    smalldocs_searches(page, site)
    assert failed == []
