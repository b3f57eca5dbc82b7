from .dicom_source import DicomFiles as DicomFiles, open_dicom as open_dicom
