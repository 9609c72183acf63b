"""Model folders made of a model, or of another folder."""
