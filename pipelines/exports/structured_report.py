"""The lesions of an exam as a DICOM structured report (TID 1500, Measurement Report) that refers to the SEG."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pydicom
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian

from pipelines.exports.anatomic_codes import place_code, side_code
from pipelines.exports.exam_report import ExamReport, ReportLesion
from pipelines.exports.segmentation import dicom_code, petar_version
from pipelines.exports.uids import uid_of
from pipelines.tables import atomic

if TYPE_CHECKING:
    import highdicom


class StructuredReportError(ValueError):
    """No structured report can be made of these; the message says why."""


def write_structured_report(
    report: ExamReport, segmentation: Path, sources: Sequence[pydicom.Dataset], path: Path
) -> Path:
    """The path of the structured report, written as a Comprehensive 3D SR: of each segment SUVmax, mean and peak, MTV
    and TLG with codes, site and side. It is partial, not final and not verified.

    Args:
        report: the draft of the exam.
        segmentation: DICOM SEG of the same lesions, which names each by its finding.
        sources: headers of the PET's slices that the SEG refers to.
        path: where it is written.

    Raises:
        StructuredReportError: no segment of the SEG is a lesion of the draft.
    """
    import highdicom
    from highdicom import sr
    from pydicom.sr.codedict import codes

    seg = highdicom.seg.segread(segmentation)
    by_id = {lesion.finding_id[:64]: lesion for lesion in report.lesions}
    groups = [
        _group(seg, segment, by_id[segment.tracking_id])
        for segment in (seg.get_segment_description(n) for n in seg.segment_numbers)
        if segment.tracking_id in by_id
    ]
    if not groups:
        raise StructuredReportError(
            f"expected segments of the lesions of exam {report.exam.exam_id}, got none: run petar export again"
        )
    observer = sr.DeviceObserverIdentifyingAttributes(uid=uid_of("petar", petar_version()), name="petar")
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(
            observer_device_context=sr.ObserverContext(
                observer_type=codes.DCM.Device, observer_identifying_attributes=observer
            )
        ),
        procedure_reported=Code("44139-4", "LN", "PET whole body"),
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    series_uid = uid_of("petar SR", str(seg.SeriesInstanceUID))
    dataset = sr.Comprehensive3DSR(
        evidence=[seg, *sources],
        content=content,
        series_instance_uid=series_uid,
        series_number=901,
        sop_instance_uid=uid_of(series_uid, str(seg.SOPInstanceUID), repr(report.lesions)),
        instance_number=1,
        manufacturer="petar",
        series_description="PET lesions, draft of a research tool",
        is_complete=False,
        is_final=False,
        is_verified=False,
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    for keyword in ("PatientIdentityRemoved", "LongitudinalTemporalInformationModified", "DeidentificationMethod"):
        if keyword in seg:
            setattr(dataset, keyword, getattr(seg, keyword))
    if "DeidentificationMethodCodeSequence" in seg:
        dataset.DeidentificationMethodCodeSequence = seg.DeidentificationMethodCodeSequence
    with atomic.replacing(path) as temp:
        dataset.save_as(temp, enforce_file_format=True)
    return path


def _group(
    seg: "highdicom.seg.Segmentation", segment: "highdicom.seg.SegmentDescription", lesion: ReportLesion
) -> "highdicom.sr.VolumetricROIMeasurementsAndQualitativeEvaluations":
    """The measurements of one segment."""
    from highdicom import sr
    from pydicom.sr.codedict import codes

    suv = codes.UCUM.StandardizedUptakeValueBodyWeight
    wanted = (
        (codes.DCM.Suvbw, lesion.suvmax, suv, codes.SCT.Maximum),
        (codes.DCM.Suvbw, lesion.suvmean, suv, codes.SCT.Mean),
        (codes.DCM.Suvbw, lesion.suvpeak, suv, codes.DCM.PeakValueWithinROI),
        (codes.DCM.MetabolicVolume, lesion.mtv_ml, Code("ml", "UCUM", "milliliter"), None),
        (codes.DCM.TotalLesionGlycolysis, lesion.tlg, Code("g", "UCUM", "gram"), None),
    )
    place, side = place_code(lesion.organ, lesion.region), side_code(lesion.laterality)
    site = None
    if place is not None:
        site = [sr.FindingSite(dicom_code(place), laterality=None if side is None else dicom_code(side))]
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=segment.tracking_uid, identifier=segment.tracking_id),
        referenced_segment=sr.ReferencedSegment.from_segmentation(seg, segment_number=segment.segment_number),
        finding_category=segment.segmented_property_category,
        finding_type=segment.segmented_property_type,
        finding_sites=site,
        measurements=[
            # A DS holds 16 characters: seven digits are more than any of these is known to.
            sr.Measurement(name=name, value=float(f"{value:.7g}"), unit=unit, derivation=derivation)
            for name, value, unit, derivation in wanted
            if value is not None
        ],
        algorithm_id=sr.AlgorithmIdentification(name="petar contour", version=petar_version()),
    )
