module BeowulfLab
  REPOSITORY = File.expand_path("../..", __dir__)

  # What went wrong, in one line, as Vagrant shows it.
  class Failed < Vagrant::Errors::VagrantError
    attr_reader :error_message

    def initialize(message)
      @error_message = message
      super()
    end
  end

  # The command `beowulf lab` for one lab.
  class Command
    # A lab's state is read once for all of its machines; Vagrant asks several times for each.
    FRESH_S = 1

    @labs = {}
    class << self
      # Return the one command of this lab, which all its machines share.
      def of(lab, inventory)
        @labs[[lab, inventory]] ||= new(lab, inventory)
      end

      # Return the path of the program: $BEOWULF, the clone's own, or the one on the PATH.
      def program
        chosen = ENV["BEOWULF"].to_s
        return found(chosen) || raise(Failed, "BEOWULF=#{chosen}: no such program") unless chosen.empty?

        found(File.join(REPOSITORY, ".venv/bin/beowulf")) || found("beowulf") ||
          raise(Failed, "the command beowulf is not installed; type `make install` in #{REPOSITORY}")
      end

      private

      def found(name)
        return Vagrant::Util::Which.which(name) unless name.include?("/")

        File.expand_path(name) if File.file?(name) && File.executable?(name)
      end
    end

    def initialize(lab, inventory)
      @lab = lab
      @inventory = inventory
      @reading = Mutex.new
    end

    # Say whether the lab exists, without a complaint where there can be none.
    def lab?
      status.fetch("exists")
    rescue Failed
      false
    end

    # Make a node, or switch it on.
    def start(ui, node)
      change(ui, "up", node, "--inventory", @inventory)
    end

    # Change the lab; what beowulf tells on the way goes to ``ui``.
    def change(ui, verb, *arguments)
      run(verb, *arguments, notify: [:stdout, :stderr]) do |_, text|
        text.each_line(chomp: true) { |line| ui.detail(line) unless line.strip.empty? }
      end
    ensure
      @reading.synchronize { @document = nil }
    end

    # Return what `beowulf lab status --json` says of the lab.
    def status
      @reading.synchronize do
        @document = nil if @document && now_s - @read_at_s > FRESH_S
        @document ||= read.tap { @read_at_s = now_s }
      end
    end

    private

    def read
      JSON.parse(run("status", "--inventory", @inventory, "--json").stdout).fetch("lab")
    rescue JSON::ParserError, KeyError
      raise Failed, "#{self.class.program} lab status: it printed no state; is it another beowulf?"
    end

    def run(verb, *arguments, **options, &block)
      words = [self.class.program, "lab", verb, *arguments, "--lab", @lab]
      result = Vagrant::Util::Subprocess.execute(*words, options, &block)
      return result if result.exit_code.zero?

      last = (result.stderr.lines.last || result.stdout.lines.last || "it printed nothing").strip
      raise Failed, "beowulf lab #{verb}: exit #{result.exit_code}: #{last}"
    rescue Vagrant::Util::Subprocess::LaunchError => error
      raise Failed, "#{words.first}: it cannot be started: #{error.message}"
    end

    def now_s
      Process.clock_gettime(Process::CLOCK_MONOTONIC)
    end
  end
end
