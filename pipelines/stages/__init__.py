"""The sharded stages, a module a part: `exams`, `reports` (sentences, readings, findings), `localisations`."""
