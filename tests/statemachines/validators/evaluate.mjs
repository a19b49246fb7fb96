// Evaluates JSONata with the reference engine: [{expression, bindings}] on stdin, [{value} | {error}] on stdout.
// {} stands for a result that is undefined, which Step Functions answers with States.QueryEvaluationError.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const jsonata = createRequire(import.meta.url)("jsonata");

async function evaluate({ expression, bindings }) {
  try {
    return { value: await jsonata(expression).evaluate(undefined, bindings) };
  } catch (error) {
    return { error: `${error.code}: ${error.message}` };
  }
}

const asked = JSON.parse(readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify(await Promise.all(asked.map(evaluate))));
