"""The paper's protocol as a grid of cells that can be interrupted and continued."""
