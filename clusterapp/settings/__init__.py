"""What the operator can choose: the model, its four sources, its documentation."""
