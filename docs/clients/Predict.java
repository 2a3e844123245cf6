// Asks for two players; needs Java 11 or newer: java Predict.java
// LUDOCAST_URL and LUDOCAST_KEY name another server and its key.
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;

class Predict {
    public static void main(String[] words) throws Exception {
        var url = System.getenv().getOrDefault("LUDOCAST_URL", "http://127.0.0.1:8080");
        var key = System.getenv().getOrDefault("LUDOCAST_KEY", "");
        var players = "[{\"level\": 12, \"country\": \"KR\", \"days_away\": 3},"
            + " {\"level\": 2, \"country\": null, \"days_away\": 20}]";
        var client = HttpClient.newHttpClient(); // one for the whole program: it keeps its connections
        var request = HttpRequest.newBuilder(URI.create(url + "/predict"))
            .timeout(Duration.ofSeconds(30))
            .header("Authorization", "Bearer " + key)
            .header("Content-Type", "application/json")
            .POST(HttpRequest.BodyPublishers.ofString(players))
            .build();
        var response = client.send(request, HttpResponse.BodyHandlers.ofString());
        if (response.statusCode() != 200) {
            throw new IllegalStateException(response.statusCode() + ": " + response.body());
        }
        System.out.println(response.body()); // JSON, for the library of your choice
    }
}
