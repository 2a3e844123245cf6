// Asks for two players; .NET, or mono: mcs -r:System.Net.Http -r:System.Web.Extensions Predict.cs && mono Predict.exe
// LUDOCAST_URL and LUDOCAST_KEY name another server and its key.
using System;
using System.Collections.Generic;
using System.Globalization;
using System.Net.Http;
using System.Net.Http.Headers;
using System.Text;
using System.Threading.Tasks;
using System.Web.Script.Serialization;

static class Predict
{
    // One for the whole program: it keeps its connections.
    static readonly HttpClient Client = new HttpClient { Timeout = TimeSpan.FromSeconds(30) };
    static readonly JavaScriptSerializer Json = new JavaScriptSerializer();

    static async Task<object[]> Ask(string url, object players)
    {
        var body = new StringContent(Json.Serialize(players), Encoding.UTF8, "application/json");
        var response = await Client.PostAsync(url + "/predict", body);
        var answer = Json.Deserialize<Dictionary<string, object>>(await response.Content.ReadAsStringAsync());
        if (!response.IsSuccessStatusCode) throw new InvalidOperationException((string)answer["error"]);
        return ((System.Collections.ArrayList)answer["predictions"]).ToArray();
    }

    static void Main()
    {
        var url = Environment.GetEnvironmentVariable("LUDOCAST_URL") ?? "http://127.0.0.1:8080";
        var key = Environment.GetEnvironmentVariable("LUDOCAST_KEY");
        if (key != null) Client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", key);
        var players = new object[]
        {
            new Dictionary<string, object> { { "level", 12 }, { "country", "KR" }, { "days_away", 3 } },
            new Dictionary<string, object> { { "level", 2 }, { "country", null }, { "days_away", 20 } },
        };
        foreach (Dictionary<string, object> player in Ask(url, players).GetAwaiter().GetResult())
        {
            var probability = Convert.ToDouble(player["probability"]).ToString("F4", CultureInfo.InvariantCulture);
            Console.WriteLine(player["label"] + " " + probability);
        }
    }
}
