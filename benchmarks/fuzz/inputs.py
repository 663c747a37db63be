"""Every kind of input, in the order of the table."""

from collections.abc import Mapping

from benchmarks.fuzz import answers, configuration, data_sets, images, reports, requests
from benchmarks.fuzz.case import Input

INPUTS: Mapping[str, Input] = {
    one.name: one
    for one in (
        *images.INPUTS,
        *reports.INPUTS,
        *configuration.INPUTS,
        *answers.INPUTS,
        *data_sets.INPUTS,
        *requests.INPUTS,
    )
}
