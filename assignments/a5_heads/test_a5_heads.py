from npsoftmax.grading.plugin import exercise_test

test_exercise = exercise_test("a5", __file__)
