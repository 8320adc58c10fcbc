// Follows a channel with Java's own HTTP client: Server-Sent Events, whose `id` is the cursor. `java Follow.java URL` runs it as it is.

import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;
import java.util.Iterator;

public class Follow {
    private static String cursor = "0";

    public static void main(String[] arguments) throws InterruptedException {
        var client = HttpClient.newBuilder().connectTimeout(Duration.ofSeconds(10)).build();
        while (true) {
            var request = HttpRequest.newBuilder(URI.create(arguments[0]))
                    .header("Accept", "text/event-stream")
                    .header("Last-Event-ID", cursor)
                    .build();
            try (var lines = client.send(request, BodyHandlers.ofLines()).body()) {
                follow(lines.iterator());
            } catch (IOException | RuntimeException gone) {
                // It comes back below.
            }
            Thread.sleep(300);
        }
    }

    /** An event is complete with the empty line after it: until then it may be cut, and then it comes again. */
    private static void follow(Iterator<String> lines) {
        String id = cursor, event = "message";
        var data = new StringBuilder();
        while (lines.hasNext()) {
            var line = lines.next();
            if (line.isEmpty()) {
                cursor = id;
                if (data.length() > 0 && !event.startsWith("@")) {
                    System.out.printf("{\"cursor\":\"%s\",\"data\":%s}%n", cursor, data);
                }
                event = "message";
                data.setLength(0);
            } else if (line.startsWith("id:")) {
                id = value(line);
            } else if (line.startsWith("event:")) {
                event = value(line);
            } else if (line.startsWith("data:")) {
                data.append(value(line));
            }
        }
    }

    private static String value(String line) {
        return line.substring(line.indexOf(':') + 1).stripLeading();
    }
}
