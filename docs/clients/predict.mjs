// Asks for two players; needs Node 18 or newer, or a browser's fetch.
// LUDOCAST_URL and LUDOCAST_KEY name another server and its key.
const url = process.env.LUDOCAST_URL ?? "http://127.0.0.1:8080";
const players = [
  { level: 12, country: "KR", days_away: 3 },
  { level: 2, country: null, days_away: 20 },
];

async function ask(players, tries = 6) {
  for (let attempt = 1; ; attempt++) {
    const response = await fetch(`${url}/predict`, {
      method: "POST",
      headers: { "Content-Type": "application/json", Authorization: `Bearer ${process.env.LUDOCAST_KEY ?? ""}` },
      body: JSON.stringify(players),
    });
    const answer = await response.json();
    if (response.ok) return answer.predictions;
    if (![429, 503].includes(response.status) || attempt === tries) throw new Error(answer.error);
    // Not before the server says, and not all clients at once.
    const seconds = Number(response.headers.get("retry-after") ?? 0) + Math.random() * 0.1 * 2 ** attempt;
    await new Promise((done) => setTimeout(done, 1000 * seconds));
  }
}

for (const player of await ask(players)) console.log(player.label, player.probability.toFixed(4));
