import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.google.gson.JsonSyntaxException;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.UnaryOperator;
import org.wso2.carbon.apimgt.api.ExceptionCodes;
import org.wso2.carbon.apimgt.api.model.subscription.URLMapping;
import org.wso2.carbon.apimgt.gateway.exception.McpException;
import org.wso2.carbon.apimgt.gateway.handlers.mcp.McpInitHandler;
import org.wso2.carbon.apimgt.gateway.handlers.security.APISecurityConstants;
import org.wso2.carbon.apimgt.gateway.handlers.throttling.APIThrottleConstants;
import org.wso2.carbon.apimgt.gateway.mcp.request.MCPRequestDeserializer;
import org.wso2.carbon.apimgt.gateway.mcp.request.McpRequest;
import org.wso2.carbon.apimgt.gateway.mcp.request.Params;
import org.wso2.carbon.apimgt.gateway.mcp.request.ParamsDeserializer;
import org.wso2.carbon.apimgt.gateway.mcp.response.McpResponseDto;
import org.wso2.carbon.apimgt.gateway.utils.MCPUtils;
import org.wso2.carbon.apimgt.impl.utils.APIUtil;
import org.wso2.carbon.apimgt.keymgt.model.entity.API;
import org.wso2.carbon.apimgt.rest.api.publisher.v1.common.mappings.APIControllerUtil;
import org.wso2.carbon.apimgt.rest.api.publisher.v1.common.mappings.ImportUtils;

/** What the product's classes say to one question. */
public final class Answers implements UnaryOperator<String> {
  private static final Gson JSON = new GsonBuilder().serializeNulls().create();
  /** As McpInitHandler.buildMCPRequest reads a message. */
  private static final Gson MESSAGES =
      new GsonBuilder()
          .registerTypeAdapter(McpRequest.class, new MCPRequestDeserializer())
          .registerTypeAdapter(Params.class, new ParamsDeserializer())
          .create();

  /** Methods that are private, or whose signatures have classes that javac cannot see. */
  private final Method answerMessage = method(MCPUtils.class, "processInternalRequest");
  private final Method endpoints = method(APIControllerUtil.class, "setupMultipleEndpoints");
  private final Method isOpen = method(McpInitHandler.class, "isNoAuthMCPRequest");

  @Override
  public String apply(String line) {
    var question = JsonParser.parseString(line).getAsJsonObject();
    try {
      return JSON.toJson(answer(question));
    } catch (Exception | LinkageError error) {
      return JSON.toJson(Map.of("broken", error.toString()));
    }
  }

  private Object answer(JsonObject question) throws Exception {
    var of = question.get("of").getAsString();
    return switch (question.get("ask").getAsString()) {
      case "api" -> ImportUtils.retrievedAPIDto(of);
      case "definition" -> JsonParser.parseString(ImportUtils.loadSwaggerFile(of));
      case "mcp-server" -> ImportUtils.retrievedMCPDto(of);
      case "endpoints" -> endpoints.invoke(null, JsonParser.parseString(of), "rest");
      case "endpoint" -> APIUtil.validateEndpointURL(of);
      case "code" -> code(ExceptionCodes.valueOf(of));
      case "security" -> security(Integer.parseInt(of));
      case "throttling" -> throttling();
      case "message" -> message(of, served(question.getAsJsonObject("server")));
      default -> throw new IllegalArgumentException(question.toString());
    };
  }

  private static Object code(ExceptionCodes code) {
    return Map.of(
        "code", code.getErrorCode(), "status", code.getHttpStatusCode(), "message", code.getErrorMessage());
  }

  private static Object security(int code) {
    var message = APISecurityConstants.getAuthenticationFailureMessage(code);
    return Map.of(
        "message", message, "description", APISecurityConstants.getFailureMessageDetailDescription(code, message));
  }

  private static Object throttling() throws IllegalAccessException {
    var codes = new TreeMap<String, Object>();
    for (var field : APIThrottleConstants.class.getFields()) {
      if (field.getName().endsWith("ERROR_CODE")) {
        codes.put(field.getName(), field.get(null));
      }
    }
    return codes;
  }

  /** As McpInitHandler and McpMediator take a message, one after the other; the token is looked at between them. */
  private Object message(String text, API server) throws Exception {
    var told = new TreeMap<String, Object>();
    McpRequest request;
    try {
      request = MESSAGES.fromJson(text, McpRequest.class);
      MCPUtils.validateRequest(request);
      told.put("needsToken", !(Boolean) isOpen.invoke(new McpInitHandler(), request.getMethod()));
    } catch (JsonSyntaxException malformed) {
      return Map.of("malformed", true);
    } catch (McpException refused) {
      return Map.of("refused", parts(refused));
    }
    try {
      var answered = (McpResponseDto) answerMessage.invoke(null, null, server, request, request.getMethod());
      told.put("answer", answered == null ? null : JsonParser.parseString(answered.getResponse()));
    } catch (InvocationTargetException error) {
      told.put("broken", error.getCause().toString());
    }
    return told;
  }

  private static API served(JsonObject described) {
    var tool = described.getAsJsonObject("tool");
    var mapping = new URLMapping();
    mapping.setUrlPattern(tool.get("target").getAsString());
    mapping.setDescription(tool.get("description").getAsString());
    mapping.setSchemaDefinition(tool.get("schemaDefinition").getAsString());
    var server = new API();
    server.setName(described.get("name").getAsString());
    server.setVersion(described.get("version").getAsString());
    server.setUrlMappings(List.of(mapping));
    return server;
  }

  private static Map<String, Object> parts(McpException refused) {
    return Map.of("code", refused.getErrorCode(), "message", refused.getErrorMessage(), "data", refused.getData());
  }

  private static Method method(Class<?> owner, String name) {
    var found =
        Arrays.stream(owner.getDeclaredMethods()).filter(one -> one.getName().equals(name)).findFirst().orElseThrow();
    found.setAccessible(true);
    return found;
  }
}
