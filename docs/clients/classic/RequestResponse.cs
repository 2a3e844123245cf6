// A client of a web service of Azure ML Studio (classic): only its address and its key are others than there.
// mcs -r:System.Net.Http -r:System.Web.Extensions RequestResponse.cs && mono RequestResponse.exe
using System;
using System.Collections;
using System.Collections.Generic;
using System.Globalization;
using System.Net.Http;
using System.Net.Http.Headers;
using System.Text;
using System.Threading.Tasks;
using System.Web.Script.Serialization;

namespace CallRequestResponseService
{
    public class StringTable
    {
        public string[] ColumnNames { get; set; }
        public string[][] Values { get; set; }
    }

    static class Program
    {
        static void Main()
        {
            InvokeRequestResponseService().Wait();
        }

        static async Task InvokeRequestResponseService()
        {
            using (var client = new HttpClient())
            {
                var scoreRequest = new
                {
                    Inputs = new Dictionary<string, StringTable>()
                    {
                        {
                            "input1",
                            new StringTable()
                            {
                                ColumnNames = new string[] { "level", "country", "days_away", "left" },
                                Values = new string[][]
                                {
                                    new string[] { "12", "KR", "3", "" },
                                    new string[] { "2", "", "20", "" },
                                }
                            }
                        },
                    },
                    GlobalParameters = new Dictionary<string, string>() { }
                };
                const string apiKey = "abc123";
                client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", apiKey);
                client.BaseAddress = new Uri("http://127.0.0.1:8080/workspaces/5f1e0c7a/services/leaving/execute?api-version=2.0&details=true");

                var serializer = new JavaScriptSerializer();
                var content = new StringContent(serializer.Serialize(scoreRequest), Encoding.UTF8, "application/json");
                HttpResponseMessage response = await client.PostAsync("", content);
                string result = await response.Content.ReadAsStringAsync();
                if (!response.IsSuccessStatusCode)
                {
                    Console.WriteLine("The request failed with status code: {0}", response.StatusCode);
                    Console.WriteLine(response.Headers.ToString());
                    Console.WriteLine(result);
                    return;
                }
                dynamic table = serializer.DeserializeObject(result);
                table = table["Results"]["output1"]["value"];
                int label = Array.IndexOf((object[])table["ColumnNames"], "Scored Labels");
                int probability = Array.IndexOf((object[])table["ColumnNames"], "Scored Probabilities");
                foreach (object[] row in (IEnumerable)table["Values"])
                {
                    double p = double.Parse((string)row[probability], CultureInfo.InvariantCulture);
                    Console.WriteLine(row[label] + " " + p.ToString("F4", CultureInfo.InvariantCulture));
                }
            }
        }
    }
}
