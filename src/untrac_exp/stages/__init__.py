"""Training and differentiation: pretraining, unlearning, gradients, Hessians, EK-FAC."""
