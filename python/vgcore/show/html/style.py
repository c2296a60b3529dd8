"""The one style of results as HTML: its colours, its rules, and which word has which colour."""

from __future__ import annotations

#: The colours of text and of what is behind it, in light and in dark. Each text is readable on each ground: a contrast
#: of 4.5 or better (WCAG 2.2, success criterion 1.4.3), which a test works out.
TEXTS = {
    "text": ("#1f2328", "#e6e8eb"),
    "quiet": ("#545d68", "#a9b1ba"),
    "good": ("#116329", "#5fd07a"),
    "cold": ("#0550ae", "#7cb7ff"),
    "bad": ("#b3261e", "#ff8f86"),
    "warn": ("#7d5200", "#e8b84a"),
}
GROUNDS = {"ground": ("#ffffff", "#16181d"), "head": ("#f3f5f7", "#24272e")}
LINE = ("#d8dee4", "#3d424b")

#: What a word is coloured as. The colour is never the only mark: the word says it.
TONES = {
    **dict.fromkeys(("healthy", "trained"), "good"),
    **dict.fromkeys(("vanishing", "learning"), "cold"),
    **dict.fromkeys(("exploding", "symmetric", "collapsed", "non-finite", "diverged", "stuck", "critical"), "bad"),
    "warning": "warn",
    "info": "quiet",
}


def themed(scope: str) -> str:
    """The rules that give what a selector finds its colours: variables, such as `--text`, in light and in dark.

    A page says by itself whether it is light or dark; notebooks and sites say so by a mark of their theme, which need
    not be that of the system. Everything follows from `color-scheme`.
    """
    colours = {**TEXTS, **GROUNDS, "line": LINE}
    pairs = "".join(f"--{name}:light-dark({light},{dark});" for name, (light, dark) in colours.items())
    marks = {
        "light": ('[data-jp-theme-light="true"]', '[data-vscode-theme-kind$="light"]', "html[theme=light]"),
        "dark": (
            *('[data-jp-theme-light="false"]', '[data-vscode-theme-kind$="dark"]', "html[theme=dark]"),
            '[data-vscode-theme-kind="vscode-high-contrast"]',
        ),
    }
    sites = {"light": '[data-md-color-scheme="default"]', "dark": '[data-md-color-scheme="slate"]'}
    themes = "".join(
        f"{scope}:is({','.join(f'{mark} *' for mark in (*found, sites[scheme]))}){{color-scheme:{scheme}}}"
        for scheme, found in marks.items()
    )
    return f"{scope}{{color-scheme:light dark;{pairs}}}{themes}"


def _style() -> str:
    """The rules. All begin with `.vgcore`, so that nothing of it reaches the page around.

    Notebooks colour the rows of every table and set all cells to the right, by rules that are stronger than one class:
    ours must insist.
    """
    rules = """
    %s
    .vgcore{color:var(--text);background:var(--ground);border:1px solid var(--line);border-radius:6px;padding:.6em .9em;
    margin:.3em 0;width:fit-content;max-width:100%%;box-sizing:border-box;font:14px/1.45 system-ui,sans-serif}
    .vgcore p{margin:.3em 0;max-width:60em}
    .vgcore div.wide{overflow-x:auto;background-image:linear-gradient(to right,var(--ground) 40%%,transparent),
    linear-gradient(to left,var(--ground) 40%%,transparent),linear-gradient(to right,var(--quiet),transparent),
    linear-gradient(to left,var(--quiet),transparent);background-position:0 0,100%% 0;background-repeat:no-repeat;
    background-size:2em 100%%,2em 100%%,.6em 100%%,.6em 100%%;background-attachment:local,local,scroll,scroll}
    .vgcore table{border-collapse:collapse;margin:.4em 0;font-size:13px;color:var(--text)}
    .vgcore tr{background-color:transparent!important}
    .vgcore th,.vgcore td{padding:.2em .7em;text-align:right;vertical-align:top;border:0;
    border-bottom:1px solid var(--line);font-variant-numeric:tabular-nums}
    .vgcore th{background:var(--head);color:var(--text);font-weight:600;vertical-align:bottom}
    .vgcore .words{text-align:left!important;white-space:nowrap}
    .vgcore .long{min-width:16em;max-width:44em;white-space:normal;overflow-wrap:anywhere}
    .vgcore .whole{text-align:left!important}
    .vgcore .kept{white-space:nowrap}
    .vgcore summary{cursor:pointer;color:var(--quiet)}
    .vgcore pre{margin:.3em 0;color:var(--text);background:var(--ground);font:12px/1.3 monospace;overflow-x:auto}
    .vgcore svg,.vgcore img{max-width:100%%;height:auto;vertical-align:middle}
    .vgcore .charts{display:flex;flex-wrap:wrap;align-items:flex-end;gap:.6em 1.4em}
    .vgcore figure{margin:.3em 0;max-width:100%%}
    .vgcore figcaption{font-size:13px;max-width:26em}
    .vgcore text{fill:var(--quiet);font:11px system-ui,sans-serif;font-variant-numeric:tabular-nums}
    .vgcore .grid,.vgcore .axis{stroke:var(--line)}
    .vgcore .run,.vgcore .beside{fill:none;stroke:var(--cold);stroke-width:2;stroke-linejoin:round}
    .vgcore .beside{stroke:var(--warn);stroke-dasharray:5 3}
    .vgcore .band{fill:var(--cold);opacity:.22}
    .vgcore .square{stroke:var(--ground)}
    .vgcore svg.map{max-width:none}
    .vgcore .letters{fill:var(--text);stroke:var(--ground);stroke-width:2.5px;paint-order:stroke;font-weight:600;
    pointer-events:none}
    """
    tones = "".join(
        f".vgcore .{name}{{color:var(--{name})}}.vgcore .square.{name}{{fill:var(--{name})}}"
        for name in TEXTS
        if name != "text"
    )
    return (rules % themed(".vgcore") + tones).replace("\n", "").replace("    ", "")


#: The style as an element: every result that stands alone has it.
STYLE = f"<style>{_style()}</style>"
