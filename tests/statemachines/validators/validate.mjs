// Prints what two independent validators find in ASL files, as one JSON array. Usage: node validate.mjs FILE...
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
const aslValidator = require("asl-validator");
const { TextDocument, getLanguageService } = require("amazon-states-language-service");

const PLACEHOLDER = /\$\{(\w+)\}/g; // the deployed definition has a function's ARN in its place
const ARN = "arn:aws:lambda:us-east-1:123456789012:function:$1";

function byValidator(text) {
  const { errors } = aslValidator(JSON.parse(text.replace(PLACEHOLDER, ARN)), { checkPaths: true, checkArn: true });
  return errors.map((error) => ({ validator: "asl-validator", line: null, message: error.Message ?? JSON.stringify(error) }));
}

async function byLanguageService(file, text) {
  const service = getLanguageService({});
  const document = TextDocument.create(file, "asl", 1, text);
  const found = await service.doValidation(document, service.parseJSONDocument(document));
  return found.map(({ message, range }) => ({
    validator: "amazon-states-language-service",
    line: range.start.line + 1,
    message,
  }));
}

function parseError(text) {
  try {
    JSON.parse(text);
    return null;
  } catch (error) {
    return { validator: "json", line: null, message: error.message };
  }
}

const problems = [];
for (const file of process.argv.slice(2)) {
  const text = readFileSync(file, "utf8");
  const broken = parseError(text);
  const found = broken ? [broken] : [...byValidator(text), ...(await byLanguageService(file, text))];
  problems.push(...found.map((problem) => ({ file, ...problem })));
}
process.stdout.write(JSON.stringify(problems));
