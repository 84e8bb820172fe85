// Asks a server over Responses with OpenAI's client for Node, in every form, and prints what came as JSON.
const OpenAI = require("openai");
const { ResponsesToolRunner } = require("openai/helpers/responses-tool-runner");

const [url, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "no key", maxRetries: 0, timeout: 20_000 });

const parameters = {
  type: "object",
  properties: { city: { type: "string" } },
  required: ["city"],
  additionalProperties: false,
};
const tool = { type: "function", name: "weather", description: "The weather in a city.", parameters, strict: true };
const asking = (count) => ({
  model,
  input: `Make ${count} calls.`,
  tools: [tool],
  polycall: { max_calls: Math.max(count, 1) },
});
const callsOf = (response) => response.output.filter((item) => item.type === "function_call");
const said = (response) => ({
  calls: callsOf(response).map((call) => [call.name, JSON.parse(call.arguments)]),
  text: response.output_text,
  status: response.status,
});

async function streamed(request) {
  const done = [];
  const numbers = [];
  const stream = client.responses.stream(request);
  stream.on("event", (event) => numbers.push(event.sequence_number));
  stream.on("response.function_call_arguments.done", (event) => done.push(JSON.parse(event.arguments)));
  return { ...said(await stream.finalResponse()), done, rising: numbers.every((n, i) => i === 0 || n > numbers[i - 1]) };
}

async function continued() {
  const first = await client.responses.create(asking(3));
  const input = callsOf(first).map((call) => ({
    type: "function_call_output",
    call_id: call.call_id,
    output: "12 degrees",
  }));
  const request = { model, tools: [tool], input, previous_response_id: first.id };
  return said(await client.responses.create(request));
}

async function byRunner(options) {
  const ran = [];
  const execute = ({ city }) => {
    ran.push(city);
    return `12 degrees in ${city}`;
  };
  const runner = new ResponsesToolRunner({ functions: [{ tool, independent: true, execute }] });
  const { tools, ...request } = { ...asking(3), input: [{ role: "user", content: "Make 3 calls." }] };
  const response = await runner.run(client, request, options);
  return { text: response.output_text, ran };
}

async function main() {
  const counts = {};
  for (const count of [0, 1, 2, 8, 32]) {
    const whole = said(await client.responses.create(asking(count)));
    counts[count] = { whole, streamed: await streamed(asking(count)) };
  }
  const whatever = { input: "Do what you like.", tool_choice: "required" };
  const single = said(await client.responses.create({ ...asking(8), ...whatever, parallel_tool_calls: false }));
  const runners = { whole: await byRunner({}), eager: await byRunner({ stream: true, eager: true }) };
  console.log(JSON.stringify({ counts, single, continued: await continued(), runners }));
}

main();
