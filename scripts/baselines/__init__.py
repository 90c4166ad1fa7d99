"""Beat this first: descriptors, classical classifiers, a support vector machine for each label."""
