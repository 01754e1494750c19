"""The style sheet of the HTML reports."""

CSS = """
:root {
  color-scheme: light dark;
  --page: #f3f5f8; --paper: #ffffff; --ink: #1c2430; --soft: #566173; --line: #dde2e9; --accent: #0067a8;
  --band: #9ecbec; --bar: #5b9bd8;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #0e1217; --paper: #171c24; --ink: #e4e9f0; --soft: #9ba7b8; --line: #2b3442; --accent: #6cbcf2;
    --band: #24557f; --bar: #3b80c4;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 2.5rem 1.25rem 3rem; max-width: 75rem; background: var(--page); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, "DejaVu Sans", sans-serif;
}
h1 { margin: 0 0 1.25rem; font-size: 1.5rem; line-height: 1.25; letter-spacing: -.01em; }
h2 { margin: 0 0 .9rem; font-size: 1.1rem; line-height: 1.3; }
p { margin: .75rem 0 0; }
main { display: grid; grid-template-columns: repeat(12, minmax(0, 1fr)); gap: 1.25rem; align-items: start; }
section {
  grid-column: 1 / -1; min-width: 0; padding: 1.4rem 1.6rem 1.5rem; background: var(--paper);
  border: 1px solid var(--line); border-radius: .75rem;
}
.note { color: var(--soft); font-size: .875rem; max-width: 46rem; }
.headline { display: flex; flex-wrap: wrap; gap: 1rem 3rem; align-items: center; }
.figure { font-size: 4rem; font-weight: 700; line-height: 1; letter-spacing: -.03em; color: var(--accent); }
.headline p { margin: .5rem 0 0; }
.headline .gauge { flex: 1 1 20rem; min-width: 0; }
.scale { position: relative; height: .85rem; border-radius: .5rem; background: var(--line); }
.scale i { position: absolute; top: 0; bottom: 0; display: block; }
.scale .interval { background: var(--band); border-radius: .2rem; }
.scale .point { width: .3rem; margin-left: -.15rem; top: -.35rem; bottom: -.35rem; background: var(--accent);
  border-radius: .15rem; }
.scale .chance { width: .15rem; margin-left: -.075rem; top: -.2rem; bottom: -.2rem; background: var(--soft); }
.small { height: .55rem; min-width: 9rem; margin: .35rem 0; }
.small .point { top: -.2rem; bottom: -.2rem; width: .2rem; margin-left: -.1rem; }
.small .chance { top: 0; bottom: 0; }
.ends { display: flex; justify-content: space-between; margin-top: .35rem; color: var(--soft); font-size: .8rem; }
.key { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; margin: .5rem 0 0; padding: 0; list-style: none;
  color: var(--soft); font-size: .875rem; }
.key li { white-space: nowrap; }
.key i { display: inline-block; width: .7rem; height: .7rem; margin-right: .4rem; border-radius: .15rem; }
.scroll { overflow-x: auto; margin: 0 -.4rem; padding: 0 .4rem; }
.scroll:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; border-radius: .25rem; }
table { width: 100%; border-collapse: collapse; font-size: .9375rem; font-variant-numeric: tabular-nums; }
th, td { padding: .42rem .6rem; text-align: right; vertical-align: baseline; border-bottom: 1px solid var(--line); }
td { white-space: nowrap; }
tbody tr:last-child > * { border-bottom: 0; }
th:first-child, td:first-child { padding-left: 0; }
th:last-child, td:last-child { padding-right: 0; }
thead th { color: var(--soft); font-size: .8125rem; font-weight: 600; white-space: nowrap; }
thead .elsewhere { min-width: 9.5rem; text-align: center; border-left: 1px solid var(--line); white-space: normal; }
td.elsewhere { border-left: 1px solid var(--line); color: var(--soft); }
thead .group { text-align: center; }
.scale-cell { width: 26%; }
td.shaded:last-child { padding-right: .6rem; }
.several { min-width: 11rem; }
th[scope=row], .text { text-align: left; white-space: normal; overflow-wrap: break-word; }
.id, .facts td { overflow-wrap: anywhere; }
th[scope=row] { font-weight: 500; }
.id { font: .8125rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
.facts th { width: 32%; color: var(--soft); }
.bar { width: 24%; }
.bar i { display: block; height: .6rem; border-radius: .3rem; background: var(--bar); }
.bar span { display: block; border-radius: .3rem; background: var(--line); }
a { color: var(--accent); }
picture, img { display: block; }
img { max-width: 100%; height: auto; margin: 0 auto; }
@media (min-width: 64rem) {
  .half { grid-column: span 6; }
  .narrow { grid-column: span 5; }
  .broad { grid-column: span 7; }
}
@media (max-width: 36rem) {
  body { padding: 1.25rem .6rem 2rem; }
  h1 { margin-left: .4rem; }
  section { padding: 1.1rem 1rem 1.2rem; }
  .figure { font-size: 3.25rem; }
  table { font-size: .875rem; }
  th, td { padding-left: .3rem; padding-right: .3rem; }
  .bar { display: none; }
}
"""
