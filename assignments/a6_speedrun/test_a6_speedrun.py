from npsoftmax.grading.plugin import exercise_test

test_exercise = exercise_test("a6", __file__)
