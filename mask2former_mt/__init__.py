"""Multi-task Mask2Former for Detectron2: every instance has a mask, a class and N subcategories."""
