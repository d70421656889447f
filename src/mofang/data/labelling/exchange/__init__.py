"""Files of other labelling tools, read and written: JSON lines, Label Studio, COCO, CoNLL, YOLO."""
