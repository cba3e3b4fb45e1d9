"""What methods are compared with: models trained again without some of the corpora."""
