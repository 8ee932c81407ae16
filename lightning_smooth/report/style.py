"""The page's style sheet; light and dark, from a phone to a wide screen."""

from __future__ import annotations

from typing import Final

STYLE: Final = """
:root{color-scheme:light dark;--paper:#ffffff;--ground:#f5f6f8;--ink:#1b2330;--muted:#5b6675;
--line:#dfe3e8;--link:#2166ac;--right:#1f6f9f;--wrong:#b5472a;--abstained:#667285;--warn:#fff6e0;
--warnline:#e3b341}
@media (prefers-color-scheme:dark){:root{--paper:#161b22;--ground:#0e1217;--ink:#e6e9ee;
--muted:#9aa5b4;--line:#2d3540;--link:#79b0e3;--right:#6cb4e0;--wrong:#ee8d6f;--abstained:#a5b0bf;
--warn:#2b2410;--warnline:#8a6d1f}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);overflow-wrap:break-word;
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
main{max-width:1160px;margin:0 auto;padding:32px 20px 56px}
h1{font-size:1.8rem;line-height:1.2;margin:0 0 .5rem;letter-spacing:-.01em}
h2{font-size:1.15rem;margin:0 0 .75rem}
h3{font-size:1rem;margin:1.25rem 0 .5rem}
p{margin:.5rem 0;max-width:100ch}
.lede{font-size:1.1rem;max-width:76ch}
.small,figcaption,.note{color:var(--muted);font-size:.875rem}
section{background:var(--paper);border:1px solid var(--line);border-radius:10px;padding:20px 22px;
margin-top:20px}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;
margin-top:20px}
.card{background:var(--paper);border:1px solid var(--line);border-radius:10px;padding:14px 16px}
.card b{display:block;font-size:1.65rem;line-height:1.25;font-weight:650;
font-variant-numeric:tabular-nums}
.card span{color:var(--muted);font-size:.85rem;display:block;line-height:1.35}
.warning{background:var(--warn);border:1px solid var(--warnline);border-radius:10px;
padding:10px 16px;margin-top:20px}
.warning p{margin:.15rem 0}
.wide{overflow-x:auto;-webkit-overflow-scrolling:touch}
figure{margin:0}
figcaption{margin-top:.6rem;max-width:100ch}
svg.plot{display:block;width:100%;min-width:480px;max-width:880px;
margin:0 auto;height:auto;
font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
table{border-collapse:collapse;font-size:.875rem;font-variant-numeric:tabular-nums;width:100%}
th,td{padding:.45rem .45rem;text-align:right;border-bottom:1px solid var(--line);
white-space:nowrap;vertical-align:top}
th{font-weight:600;color:var(--muted);vertical-align:bottom}
tbody th{color:var(--ink);text-align:left;white-space:normal;min-width:10rem;max-width:19rem;
overflow-wrap:anywhere}
thead th:first-child{text-align:left}
tbody tr:last-child>*{border-bottom:0}
td small,th small{display:block;color:var(--muted);font-weight:400;font-size:.75rem}
.swatch{display:inline-block;width:.8em;height:.8em;border-radius:2px;margin-right:.45em;
vertical-align:-.05em}
.samples{display:grid;grid-template-columns:repeat(auto-fill,minmax(220px,1fr));gap:14px}
.sample{border:1px solid var(--line);border-radius:8px;padding:10px}
.sample .pair{display:grid;grid-template-columns:1fr 1fr;gap:6px}
.sample img{width:100%;height:auto;display:block;border-radius:3px;background:var(--ground)}
.sample img.tiny{image-rendering:pixelated}
.sample p{margin:.45rem 0 0;font-size:.875rem;line-height:1.4}
.sheet .wide{padding:3px}
.strips{width:min-content;min-width:100%}
.strip{display:grid;grid-template-columns:repeat(var(--tiles),minmax(76px,114px));gap:8px}
.strip-name{position:sticky;left:0;width:max-content;margin:.2rem 0 .35rem;font-size:.9rem}
.strip+.strip-name{margin-top:1rem}
.tile img{width:100%;height:auto;display:block;border-radius:3px;background:var(--ground)}
.tile img.tiny{image-rendering:pixelated}
.tile p{margin:.3rem 0 0;font-size:.8rem;line-height:1.3;color:var(--muted);
font-variant-numeric:tabular-nums}
.tile b{color:var(--ink)}
.still img{outline:3px solid var(--link);outline-offset:-1px}
.still p,.still b{color:var(--link)}
.pill{font-weight:650}
.right{color:var(--right)}.wrong{color:var(--wrong)}.abstained{color:var(--abstained)}
ul{margin:.4rem 0;padding-left:1.2rem;font-size:.9rem}
details{border-top:1px solid var(--line);padding:.6rem 0}
details:first-of-type{border-top:0}
summary{cursor:pointer;font-weight:600}
dl{display:grid;grid-template-columns:minmax(8rem,15rem) 1fr;gap:.2rem 1.2rem;margin:.6rem 0;
font-size:.875rem}
dt{color:var(--muted)}
dd{margin:0;overflow-wrap:anywhere;font-variant-numeric:tabular-nums}
code{font:.92em ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
@media (max-width:600px){main{padding:20px 12px 40px}section{padding:16px 14px}
h1{font-size:1.45rem}.cards{grid-template-columns:1fr 1fr}.card b{font-size:1.35rem}
.card:last-child:nth-child(odd){grid-column:1/-1}
dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:.4rem}
.samples{grid-template-columns:1fr 1fr;gap:10px}.sample{padding:8px}
tbody th{min-width:8rem;max-width:10rem}}
@media print{body{background:none}section,.card{break-inside:avoid}}
""".strip()
