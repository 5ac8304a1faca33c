from openvino_eval.recipe_comparison.comparison import RecipeComparison, compare_recipe
from openvino_eval.recipe_comparison.variants import read_variants

__all__ = ["RecipeComparison", "compare_recipe", "read_variants"]
