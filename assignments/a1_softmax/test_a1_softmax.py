from npsoftmax.grading.plugin import exercise_test

test_exercise = exercise_test("a1", __file__)
