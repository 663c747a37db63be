"""The draft report of an exam as Markdown and as an HTML page that opens from disk."""

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from typing import Any

from pipelines.exports.exam_report import ExamReport, ReportLesion, place_words

_COLUMNS = (
    ("lesion", "finding_id", ""),
    ("SUVmax", "suvmax", ".1f"),
    ("SUVmean", "suvmean", ".1f"),
    ("SUVpeak", "suvpeak", ".1f"),
    ("MTV (mL)", "mtv_ml", ".1f"),
    ("TLG (SUV mL)", "tlg", ".1f"),
    ("diameter (mm)", "diameter_mm", ".0f"),
    ("since the prior exam", "state", ""),
    ("SUVmax (%)", "suvmax_change_percent", "+.0f"),
    ("MTV (%)", "mtv_ml_change_percent", "+.0f"),
)


def markdown_page(report: ExamReport) -> str:
    """The draft as Markdown: what it is, burden, lesions by region, measures, comparison."""
    lines = [f"# PET/CT, exam {report.exam.exam_id}", "", f"**{report.status}** {report.text_source}", ""]
    lines += [f"- {name}: {value}" for name, value in _facts(report)]
    for region, lesions in report.by_region():
        lines += ["", f"## {region.capitalize()}", ""]
        for lesion in lesions:
            lines.append(f"- {lesion.sentence}")
            if lesion.model_text:
                lines.append(f"  - {lesion.model}: {lesion.model_text}")
    if not report.lesions:
        lines += ["", "No lesion of this exam was located."]
    lines += ["", "## Comparison", "", *(f"- {line}" for line in _comparison(report))]
    if report.lesions:
        lines += ["", "## Measures", "", *_table(report.lesions)]
    return "\n".join(lines) + "\n"


def html_page(report: ExamReport) -> str:
    """The draft as one HTML page; the mark that it is a draft stays on every printed page."""
    body = [f"<p class=draft>{escape(report.status)} {escape(report.text_source)}</p>"]
    body.append(f"<h1>PET/CT, exam {escape(report.exam.exam_id)}</h1><table>")
    body += [f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in _facts(report)]
    body.append("</table>")
    for region, lesions in report.by_region():
        body.append(f"<h2>{escape(region.capitalize())}</h2><ul>")
        for lesion in lesions:
            said = f"<br><small>{escape(lesion.model or '')}: {escape(lesion.model_text or '')}</small>"
            body.append(f"<li>{escape(lesion.sentence)}{said if lesion.model_text else ''}</li>")
        body.append("</ul>")
    if not report.lesions:
        body.append("<p>No lesion of this exam was located.</p>")
    body.append("<h2>Comparison</h2><ul>")
    body += [f"<li>{escape(line)}</li>" for line in _comparison(report)]
    body.append("</ul>")
    if report.lesions:
        head = "".join(f"<th>{escape(name)}</th>" for name, _, _ in _COLUMNS)
        body.append(f"<h2>Measures</h2><table><tr>{head}</tr>")
        for lesion in report.lesions:
            cells = "".join(f"<td>{escape(_cell(lesion, name, form))}</td>" for _, name, form in _COLUMNS)
            body.append(f"<tr>{cells}</tr>")
        body.append("</table>")
    style = (files(__package__) / "report_page.css").read_text(encoding="utf-8")
    return _PAGE.format(title=escape(report.exam.exam_id), style=style, body="\n".join(body))


def _facts(report: ExamReport) -> list[tuple[str, str]]:
    exam, burden = report.exam, report.burden
    facts = [("Study date", exam.study_date or "unknown"), ("Tracer", exam.tracer or "unknown")]
    total = f"{burden.n_lesions} lesion{'' if burden.n_lesions == 1 else 's'}, MTV {burden.mtv_ml:.1f} mL"
    if burden.tlg is not None:
        total += f", TLG {burden.tlg:.1f} SUV mL"
    if burden.suvmax is not None:
        total += f", hottest SUVmax {burden.suvmax:.1f}"
    return [*facts, ("Burden, without physiologic uptake", total)]


def _comparison(report: ExamReport) -> list[str]:
    exam = report.exam
    if exam.prior_exam_id is None:
        return [f"None: {exam.no_comparison or 'the exams of this patient were not compared (petar followup)'}."]
    states: dict[str, int] = {}
    for state in (*(lesion.state for lesion in report.lesions), *(lesion.state for lesion in report.gone)):
        if state:
            states[state] = states.get(state, 0) + 1
    lines = [f"With exam {exam.prior_exam_id}, {exam.days} days before."]
    lines += [f"{state}: {n}" for state, n in sorted(states.items())]
    for lesion in report.gone:
        where = place_words(lesion.organ, None, lesion.laterality) or "unknown place"
        suv = "" if lesion.prior_suvmax is None else f", prior SUVmax {lesion.prior_suvmax:.1f}"
        why = f" ({lesion.explanation})" if lesion.explanation else ""
        lines.append(f"Lesion of the prior exam, {where}{suv}: {lesion.state}{why}.")
    return lines


def _table(lesions: Sequence[ReportLesion]) -> list[str]:
    lines = ["| " + " | ".join(name for name, _, _ in _COLUMNS) + " |", "|" + " --- |" * len(_COLUMNS)]
    for lesion in lesions:
        lines.append("| " + " | ".join(_cell(lesion, name, form) for _, name, form in _COLUMNS) + " |")
    return lines


def _cell(lesion: ReportLesion, name: str, form: str) -> str:
    value: Any = getattr(lesion, name)
    if name == "state" and lesion.is_physiologic:
        return "physiologic"
    return "" if value is None else format(value, form)


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Draft report {title}</title><style>
{style}</style></head><body>
{body}
</body></html>
"""
