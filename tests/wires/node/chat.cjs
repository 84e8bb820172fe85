// Asks a server over Chat Completions with OpenAI's client for Node, in every form, and prints what came as JSON.
const OpenAI = require("openai");

const [url, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "no key", maxRetries: 0, timeout: 20_000 });

const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const tools = [{ type: "function", function: { name: "weather", description: "The weather in a city.", parameters } }];
const asking = (count) => ({
  model,
  messages: [{ role: "user", content: `Make ${count} calls.` }],
  tools,
  polycall: { max_calls: Math.max(count, 1) },
});
const callsOf = (message) =>
  (message.tool_calls ?? []).map((call) => [call.function.name, JSON.parse(call.function.arguments)]);
const said = (completion) => ({
  calls: callsOf(completion.choices[0].message),
  text: completion.choices[0].message.content,
  reason: completion.choices[0].finish_reason,
});

async function streamed(request) {
  const done = [];
  const stream = client.chat.completions
    .stream(request)
    .on("tool_calls.function.arguments.done", (call) => done.push([call.name, call.index, JSON.parse(call.arguments)]));
  return { ...said(await stream.finalChatCompletion()), done };
}

async function byRunner(stream) {
  const ran = [];
  const weather = ({ city }) => {
    ran.push(city);
    return `12 degrees in ${city}`;
  };
  const runner = client.chat.completions.runTools({
    ...asking(3),
    stream,
    tools: [
      {
        type: "function",
        function: { name: "weather", function: weather, parse: JSON.parse, parameters, description: "The weather." },
      },
    ],
  });
  return { text: await runner.finalContent(), ran };
}

async function refused() {
  const call = { id: "call_a", type: "function", function: { name: "weather", arguments: "{}" } };
  const history = [{ role: "user", content: "?" }, { role: "assistant", tool_calls: [call] }];
  try {
    await client.chat.completions.create({ ...asking(1), messages: history });
  } catch (error) {
    return { is: error instanceof OpenAI.BadRequestError, param: error.param, message: error.message };
  }
}

async function main() {
  const counts = {};
  for (const count of [0, 1, 2, 8, 32]) {
    const whole = said(await client.chat.completions.create(asking(count)));
    counts[count] = { whole, streamed: await streamed(asking(count)) };
  }
  const whatever = { messages: [{ role: "user", content: "Do what you like." }], tool_choice: "required" };
  const single = said(await client.chat.completions.create({ ...asking(8), ...whatever, parallel_tool_calls: false }));
  const runners = { whole: await byRunner(false), streamed: await byRunner(true) };
  console.log(JSON.stringify({ counts, single, runners, refused: await refused() }));
}

main();
