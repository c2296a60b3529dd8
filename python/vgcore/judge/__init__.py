"""Is it bad, where and how surely: evidence, rules, verdicts, diagnoses."""
