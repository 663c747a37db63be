"""The paper's ablation: what the model learns with and without mask, CT, focal crop and anatomy pretraining."""
