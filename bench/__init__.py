"""What Millrace costs: counts that no noise can move, and times as ratios within one run. ``README.md`` says what each
figure means.
"""
